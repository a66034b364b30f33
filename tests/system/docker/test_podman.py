"""Podman counts as an engine: what it can't do is left out, and not guessed."""

from collections.abc import Iterator

import pytest

from tests.system.progress.pictures import snapshot
from tests.testing.answers import results
from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.engine import Engine
from tests.testing.podman import Podman
from tests.testing.process import wait_until
from tests.testing.proxy import Cut, FaultyProxy
from tests.testing.registry import PushedImage, Registry, random_layer

FOREIGN = "linux/arm64"


@pytest.fixture(scope="module")
def mixed(
    podman: Podman, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Two nodes with Podman, which are one and the same, and one with a Docker Engine."""
    plans = [
        NodePlan(WEB_1, podman.url, ("group:podman",)),
        NodePlan(WEB_2, podman.url, ("group:podman",)),
        NodePlan(DB_1, engine.url),
    ]
    with Cluster(tmp_path_factory.mktemp("podman"), plans) as cluster:
        yield cluster


def events(cluster: Cluster, job: str) -> list[str]:
    return [moment["event"] for moment in cluster.job(job)["timeline"]]


def test_a_pull_by_podman_is_one_pull_and_says_what_is_there(
    mixed: Cluster, podman: Podman, image: PushedImage
) -> None:
    for changed in (True, False):
        answer = mixed.pull(WEB_1, image.reference)
        assert results(answer)[WEB_1] == {
            "hostname": WEB_1,
            "machine_id": mixed.machine_id(WEB_1),
            "status": "ok",
            "image_id": podman.image_id(image.reference),
            "size": (podman.image(image.reference) or {})["Size"],
            "changed": changed,
            "tag": "1.0",
            "digest": image.digest,
        }
        assert "attempt" not in events(mixed, answer.json()["job_id"])


def test_podman_pulls_by_digest_and_for_another_platform(
    mixed: Cluster, podman: Podman, image: PushedImage, registry: Registry
) -> None:
    assert results(mixed.pull(WEB_1, image.by_digest))[WEB_1]["digest"] == image.digest
    name = f"{image.repository}-arm"
    foreign = registry.push_image(name, "arm", [random_layer(name)], architecture="arm64")
    own = registry.push_image(name, "own", [random_layer(f"{name} own")])
    digest = registry.push_index(name, "1.0", [foreign, own])
    reference = registry.reference(name, "1.0")
    for platform, pulled in ((FOREIGN, foreign), (None, own)):
        asked = {} if platform is None else {"platform": platform}
        # The second time, that image is not what `missing` is about.
        found = results(mixed.pull(WEB_1, reference, policy="missing", **asked))[WEB_1]
        assert (found["image_id"], found["changed"]) == (pulled.config_digest, True)
        # Podman knows the digest of the index and that of the image, and not which is which.
        assert "digest" not in found
    fleet = results(mixed.pull("_all", reference))
    assert {each["status"] for each in fleet.values()} == {"ok"}
    assert {fleet[each]["digest"] for each in (WEB_1, DB_1)} == {digest}
    assert {each["image_id"] for each in fleet.values()} == {own.config_digest}


def test_what_one_node_has_got_by_its_tag_the_others_pull_where_none_can_resolve(
    mixed: Cluster, podman: Podman, image: PushedImage
) -> None:
    answer = mixed.pull("group:podman", image.reference)
    found = results(answer)
    assert {each["status"] for each in found.values()} == {"ok"}
    assert {each["digest"] for each in found.values()} == {image.digest}
    job = mixed.job(answer.json()["job_id"])
    assert job["resolved"]["digest"] == image.digest
    assert "attempt" not in events(mixed, job["id"])


def test_what_podman_says_of_a_failure_is_understood(mixed: Cluster, registry: Registry) -> None:
    answer = mixed.pull(WEB_1, registry.reference("nothing/here", "1.0"))
    assert answer.status_code == 500
    job = mixed.job(answer.headers["Location"].removeprefix("/job/"))
    assert "manifest unknown" in job["results"][0]["error"]
    assert events(mixed, job["id"]).count("attempt") == 1


def test_a_pull_by_podman_that_is_cut_off_is_tried_again_and_shows_its_progress(
    mixed: Cluster, podman: Podman, registry: Registry, image: PushedImage
) -> None:
    size = 8 << 20
    large = registry.push_image(image.repository, "large", [random_layer("large podman", size)])
    with FaultyProxy.before_registry(registry) as between:
        between.rate = 4 << 20
        # Podman itself asks again a few times.
        between.fault = Cut(match="/blobs/", after=size // 2)
        reference = f"{between.host}/{image.repository}:large"
        answer = mixed.pull(WEB_1, reference, prefer="respond-async")
        job = answer.headers["Location"].removeprefix("/job/")

        def arrived() -> bool:
            return any(node.get("fetched") for node in snapshot(mixed.reader, job)["nodes"])

        wait_until(arrived, what="bytes that arrive")
        between.fault = None
        assert mixed.ended(job)["status"] == "completed"
    assert podman.image_id(reference) == large.config_digest
