"""One digest for the fleet: what one node finds the tag to be, the others pull."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.testing.answers import results
from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster
from tests.testing.engine import Engine
from tests.testing.proxy import FaultyProxy
from tests.testing.registry import PushedImage, Registry, random_layer


@pytest.fixture(scope="module")
def registry_proxy(registry: Registry) -> Iterator[FaultyProxy]:
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


def test_one_node_asks_what_the_tag_is_and_the_job_says_which(
    cluster: Cluster, image: PushedImage, registry: Registry, registry_proxy: FaultyProxy
) -> None:
    registry_proxy.requests.clear()
    reference = image.reference.replace(registry.host, registry_proxy.host)
    answer = cluster.pull("_all", reference)
    found = results(answer)
    assert {result["status"] for result in found.values()} == {"ok"}
    assert {result["digest"] for result in found.values()} == {image.digest}
    assert {result["tag"] for result in found.values()} == {"1.0"}
    asked = [line for line in registry_proxy.requests if line.endswith("/manifests/1.0")]
    assert len(asked) == 1

    job = cluster.job(answer.json()["job_id"])
    assert job["resolved"]["digest"] == image.digest
    assert job["resolved"]["resolver"] in (WEB_1, WEB_2, DB_1)
    resolved = [moment["message"] for moment in job["timeline"] if moment["event"] == "resolved"]
    assert resolved == [f"{image.digest} by {job['resolved']['resolver']}"]


def test_a_single_node_and_each_ask_for_themselves(
    cluster: Cluster, image: PushedImage, registry: Registry, registry_proxy: FaultyProxy
) -> None:
    reference = image.reference.replace(registry.host, registry_proxy.host)
    for target, resolve, asked in ((WEB_1, "once", 1), ("_any", "once", 1), ("_all", "each", 3)):
        registry_proxy.requests.clear()
        answer = cluster.writer.post(
            f"/node/{target}/container/docker/pull", json={"image": reference, "resolve": resolve}
        )
        assert {result["digest"] for result in results(answer).values()} == {image.digest}
        heads = [line for line in registry_proxy.requests if line.endswith("/manifests/1.0")]
        assert len(heads) == asked
        assert "resolved" not in cluster.job(answer.json()["job_id"])


def test_a_tag_that_moves_half_way_splits_no_fleet(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage, registry: Registry
) -> None:
    """Nor does a digest that is gone meanwhile go unsaid; and a retry pulls what the job did."""
    name = image.repository
    gone, split = (registry.push_image(f"{name}-{kind}", "1.0") for kind in ("gone", "split"))
    cluster.agents[DB_1].kill()
    try:
        cluster.wait_away(DB_1)
        jobs = []
        for pulled, resolve in ((image, "once"), (gone, "once"), (split, "each")):
            answer = cluster.writer.post(
                "/node/_all/container/docker/pull",
                json={"image": pulled.reference, "resolve": resolve},
            )
            assert results(answer)[WEB_1]["digest"] == pulled.digest
            jobs.append(answer.json()["job_id"])
        moved = {
            each.repository: registry.push_image(each.repository, "1.0", [random_layer("moved")])
            for each in (image, gone, split)
        }
        manifest = registry.blob_path(gone.digest).read_bytes()
        registry.remove_manifest(gone)
    finally:
        cluster.agents[DB_1].start()
    kept, lost, divided = (cluster.ended(job) for job in jobs)

    assert kept["status"] == "completed"
    assert {result["digest"] for result in kept["results"]} == {image.digest}
    assert len({engine.image_id(image.reference) for engine in engines}) == 1

    assert {result["digest"] for result in divided["results"]} == {
        split.digest,
        moved[split.repository].digest,
    }

    assert lost["status"] == "partial_failure"
    (error,) = [each["error"] for each in lost["results"] if each["hostname"] == DB_1]
    assert f"{gone.reference} was {gone.digest} when {lost['resolved']['resolver']}" in error
    assert "the registry does not have that any more" in error

    registry.put_manifest(gone.repository, "kept", manifest)
    made = cluster.admin.post(f"/job/{lost['id']}/retry", json={}).raise_for_status().json()
    again = cluster.ended(made["job_id"])
    assert again["resolved"] == lost["resolved"]
    ((name, pulled),) = [(each["hostname"], each["digest"]) for each in again["results"]]
    assert (name, pulled) == (DB_1, gone.digest)


def plain(engine: Engine, reference: str) -> dict[str, Any]:
    """Return what `docker inspect` says of an image, but for when it was tagged and its place."""
    found = engine.image(reference) or {}
    (found.get("Metadata") or {}).pop("LastTagTime", None)
    found.pop("GraphDriver", None)
    return found


def content(engine: Engine, reference: str) -> list[Any]:
    """Return what of an image is there, of whatever platform."""
    found = engine.image(reference, manifests=True) or {}
    manifests = {each["ID"]: each["Available"] for each in found.get("Manifests") or ()}
    return [found.get("Id"), found.get("Architecture"), manifests]


def names(engine: Engine, repository: str) -> list[tuple[str, ...]]:
    """Return the names of all images of a repository, and of those that have none."""
    return sorted(
        tuple(sorted((*(each["RepoTags"] or ()), *(each["RepoDigests"] or ()))))
        for each in engine.images()
        if repository in json.dumps(each)
    )


def fresh(registry: Registry, engines: Sequence[Engine], name: str) -> PushedImage:
    return registry.push_image(name, "1.0", [random_layer(name)])


def older(registry: Registry, engines: Sequence[Engine], name: str) -> PushedImage:
    """Another image had the tag, by its digest as well."""
    first = registry.push_image(name, "1.0", [random_layer(f"{name} first")])
    for engine in engines:
        engine.pull(first.reference)
        engine.pull(first.by_digest)
    return fresh(registry, engines, name)


def same(registry: Registry, engines: Sequence[Engine], name: str) -> PushedImage:
    image = fresh(registry, engines, name)
    for engine in engines:
        engine.pull(image.reference)
    return image


def by_digest(registry: Registry, engines: Sequence[Engine], name: str) -> PushedImage:
    image = fresh(registry, engines, name)
    for engine in engines:
        engine.pull(image.by_digest)
    return image


def other_tag(registry: Registry, engines: Sequence[Engine], name: str) -> PushedImage:
    other = registry.push_image(name, "2.0", [random_layer(name)])
    for engine in engines:
        engine.pull(other.reference)
    return fresh(registry, engines, name)


def platforms(registry: Registry, engines: Sequence[Engine], name: str) -> PushedImage:
    image = registry.push_image(name, "single", [random_layer(name)])
    foreign = registry.push_image(name, "foreign", [random_layer("s390x")], architecture="s390x")
    index = registry.push_index(name, "1.0", [foreign, image])
    return dataclasses.replace(image, reference=registry.reference(name, "1.0"), digest=index)


FOREIGN = "linux/arm64"


def index(registry: Registry, name: str) -> PushedImage:
    """Push images for two platforms under one tag, of which the second is the engines' own."""
    foreign = registry.push_image(name, "arm", [random_layer(f"{name} arm")], architecture="arm64")
    own = registry.push_image(name, "own", [random_layer(f"{name} own")])
    digest = registry.push_index(name, "1.0", [foreign, own])
    return dataclasses.replace(own, reference=registry.reference(name, "1.0"), digest=digest)


def foreign(registry: Registry, engines: Sequence[Engine], name: str) -> PushedImage:
    image = index(registry, name)
    for engine in engines:
        engine.pull(image.reference, FOREIGN)
    return image


def foreign_and_own(registry: Registry, engines: Sequence[Engine], name: str) -> PushedImage:
    image = foreign(registry, engines, name)
    for engine in engines:
        engine.pull(image.reference)
    return image


def own_and_foreign(registry: Registry, engines: Sequence[Engine], name: str) -> PushedImage:
    image = index(registry, name)
    for engine in engines:
        engine.pull(image.reference)
        engine.pull(image.reference, FOREIGN)
    return image


def foreign_by_digest(registry: Registry, engines: Sequence[Engine], name: str) -> PushedImage:
    image = index(registry, name)
    for engine in engines:
        engine.pull(image.by_digest, FOREIGN)
    return image


@pytest.mark.parametrize(
    "before",
    [
        *(fresh, older, same, by_digest, other_tag, platforms),
        *(foreign, foreign_and_own, own_and_foreign, foreign_by_digest),
    ],
)
def test_a_node_has_afterwards_what_a_plain_pull_of_the_tag_leaves(
    cluster: Cluster,
    engines: Sequence[Engine],
    registry: Registry,
    before: Callable[[Registry, Sequence[Engine], str], PushedImage],
) -> None:
    """The third engine pulls as `docker pull` does."""
    repository = f"digest/{before.__name__.replace('_', '-')}-{engines[0].kind}"
    image = before(registry, engines, repository)
    contents = [content(engine, image.reference) for engine in engines]
    engines[2].pull(image.reference)
    answer = cluster.pull("group:web", image.reference)
    for hostname, engine in zip((WEB_1, WEB_2), engines, strict=False):
        result = results(answer)[hostname]
        assert result["status"] == "ok", result
        assert result["digest"] == image.digest
        assert result["image_id"] == engine.image_id(image.reference)
        assert result["changed"] is (contents.pop(0) != content(engine, image.reference))
        assert plain(engine, image.reference) == plain(engines[2], image.reference)
        assert names(engine, repository) == names(engines[2], repository)
