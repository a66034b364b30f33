"""The registries that images may come from: what others name is refused before it is asked."""

from collections.abc import Iterator

import pytest

from tests.testing.cluster import WEB_1, Cluster, NodePlan

NO_ENGINE_THERE = "tcp://127.0.0.1:1"
"""A node with that has an engine that answers nothing: whatever asks it says so."""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A controller that allows some registries, and a node that allows fewer."""
    node = NodePlan(WEB_1, NO_ENGINE_THERE, env={"TOWLINE_REGISTRIES": "one.internal:5000"})
    env = {"TOWLINE_REGISTRIES": "docker.io,*.internal:5000"}
    with Cluster(tmp_path_factory.mktemp("limited"), [node], env) as cluster:
        yield cluster


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ("evil.example/app:1", "'evil.example'"),
        ("one.internal:5001/app", "'one.internal:5001'"),
        ("169.254.169.254/latest", "'169.254.169.254' is a link-local address"),
        (f"0xa9fea9fe:80/app@sha256:{'0' * 64}", "'0xa9fea9fe:80' is a link-local address"),
        ("@fact.hostname.evil.example/app", "known on the node alone"),
    ],
)
def test_a_controller_makes_no_job_for_an_image_of_another_registry(
    limited: Cluster, image: str, named: str
) -> None:
    before = limited.jobs_made()
    answer = limited.pull("_all", image)
    assert answer.status_code == 403
    assert named in answer.json()["error"]
    assert "setting 'registries'" in answer.json()["details"]
    assert limited.jobs_made() == before


def test_a_node_refuses_what_its_own_settings_do_not_allow_before_its_engine_is_asked(
    limited: Cluster,
) -> None:
    answer = limited.pull(WEB_1, "two.internal:5000/app")
    assert answer.status_code == 403
    assert "'two.internal:5000' is none of those" in answer.json()["error"]
    assert "one.internal:5000" in answer.json()["error"]
    asked = limited.pull(WEB_1, "one.internal:5000/app", retries=0)
    assert (asked.status_code, "Docker Engine" in asked.json()["error"]) == (500, True)


def test_no_credential_is_kept_for_a_registry_that_is_not_allowed(limited: Cluster) -> None:
    credential = {"username": "ann", "password": "p4ssw0rd"}
    refused = limited.admin.put("/registry/evil.example", json=credential)
    assert (refused.status_code, "'evil.example'" in refused.json()["error"]) == (403, True)
    assert limited.admin.get("/registry").json()["registries"] == []
    assert limited.admin.put("/registry/index.docker.io", json=credential).status_code == 201
    assert limited.admin.delete("/registry/docker.io").status_code == 204


def test_without_a_list_all_but_link_local_addresses_are_allowed(fleet: Cluster) -> None:
    before = fleet.jobs_made()
    answer = fleet.pull("_all", "[fe80::1]:5000/app")
    assert (answer.status_code, "link-local" in answer.json()["error"]) == (403, True)
    assert fleet.jobs_made() == before
    assert fleet.pull(WEB_1, "any.example/app").status_code == 202
