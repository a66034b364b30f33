"""Sets on two controllers, of which one dies; on each kind of engine; and what they remove."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.testing.cluster import DB_1, Cluster, NodePlan
from tests.testing.declared import Declared
from tests.testing.engine import Engine, EngineKind, why_missing
from tests.testing.podman import Podman
from tests.testing.pool import Pool
from tests.testing.process import wait_until
from tests.testing.registry import PushedImage, Registry, random_layer


@pytest.fixture(scope="module")
def docker(_engines: Pool[EngineKind, Sequence[Engine]]) -> Sequence[Engine]:
    """Two of the one kind, and one of the other as far as that is there."""
    classic = _engines[EngineKind.CLASSIC][:2]
    if why_missing(EngineKind.CONTAINERD):
        return classic
    return [*classic, _engines[EngineKind.CONTAINERD][0]]


@pytest.fixture(scope="module")
def pair(
    docker: Sequence[Engine], podman: Podman, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Two controllers, nodes with a Docker Engine each and one with Podman."""
    plans = [
        NodePlan(f"web-{number:02}", engine.url, ("group:docker",))
        for number, engine in enumerate(docker, 1)
    ]
    plans.append(NodePlan(DB_1, podman.url, ("group:podman",)))
    with Cluster(tmp_path_factory.mktemp("pair"), plans) as cluster:
        cluster.add_controller()
        yield cluster


def test_podman_is_given_what_one_of_its_nodes_has_found_the_tag_to_be(
    pair: Cluster, podman: Podman, image: PushedImage, registry: Registry
) -> None:
    foreign = registry.push_image(
        image.repository, "arm", [random_layer("arm")], architecture="arm64"
    )
    registry.push_index(image.repository, "1.0", [foreign, image])
    declared = Declared(pair, "podman", image.reference, "group:podman")
    declared.put()
    declared.until(lambda found: found["converged"] == 1 and "current" in found, "Podman's image")
    assert podman.image_id(image.reference) == image.config_digest
    assert len(declared.jobs) == 1, "what was pulled to find out is not pulled again"
    podman.remove_image(image.reference)
    wait_until(
        lambda: podman.image_id(image.reference) == image.config_digest, what="the image again"
    )
    declared.remove()


def test_what_is_older_than_what_a_set_keeps_is_removed_where_nothing_uses_it(
    pair: Cluster, docker: Sequence[Engine], image: PushedImage, registry: Registry
) -> None:
    declared = Declared(pair, "pruned", image.reference, "group:docker")
    declared.put(keep=0)
    declared.until_rolled_out(image.digest)
    moved = registry.push_image(image.repository, "1.0", [random_layer("moved")])
    with docker[0].containers(image.reference, 1):
        declared.put()
        declared.until_rolled_out(moved.digest)
        wait_until(
            lambda: not any(each.image(each.id_of(image)) for each in docker[1:]),
            what="the older one gone",
        )
        assert docker[0].image(image.by_digest) is not None, "a container is made of it"
    declared.remove()
    assert all(each.image_id(image.reference) == each.id_of(moved) for each in docker)


def test_another_controller_finishes_what_one_that_was_killed_had_begun_and_nothing_twice(
    pair: Cluster, docker: Sequence[Engine], image: PushedImage, registry: Registry
) -> None:
    declared = Declared(pair, "taken-over", image.reference, "group:docker")
    declared.put(options={"max_parallel": 1})
    declared.until_rolled_out(image.digest)
    moved = registry.push_image(image.repository, "1.0", [random_layer("moved", 32_000_000)])
    declared.put()
    declared.until(lambda found: "job" in found, "a job that rolls it out")
    registry.freeze()  # so that it is not over when the controller dies
    try:
        pair.controller.kill()
    finally:
        registry.thaw()
    other = pair.others[0]

    def rolled_out() -> bool:
        (found,) = other.get("/set/taken-over").raise_for_status().json()["images"]
        return bool(found.get("current") == moved.digest and found["converged"] == len(docker))

    wait_until(rolled_out, timeout=60, what="the other controller to have finished it")
    assert all(each.image_id(image.reference) == each.id_of(moved) for each in docker)
    jobs: list[dict[str, Any]] = other.get("/job?caller=set:taken-over").json()["items"]
    assert [job["status"] for job in jobs] == ["completed"] * 2
    pair.controller.start()
