"""Each node gets the image of its own platform, or of the one that is asked for."""

import dataclasses
import json
from collections.abc import Sequence

import pytest

from tests.testing.answers import results
from tests.testing.cluster import WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.engine import Engine, EngineKind
from tests.testing.proxy import Answer, FaultyProxy
from tests.testing.registry import PushedImage, Registry, random_layer

FOREIGN = "linux/arm64"


@dataclasses.dataclass(frozen=True)
class Both:
    """An index with an image of the engines' own platform and one of another."""

    reference: str
    digest: str
    own: PushedImage
    foreign: PushedImage

    @property
    def by_digest(self) -> str:
        return f"{self.reference.rpartition(':')[0]}@{self.digest}"


@pytest.fixture
def both(registry: Registry, image: PushedImage) -> Both:
    name = image.repository
    foreign = registry.push_image(name, "a", [random_layer(f"{name} a")], architecture="arm64")
    digest = registry.push_index(name, "both", [foreign, image])
    return Both(registry.reference(name, "both"), digest, image, foreign)


def available(engine: Engine, reference: str) -> set[str]:
    """Return the architectures of which an engine has the image, all of it."""
    found = engine.image(reference, manifests=True) or {}
    listed = [
        each["ImageData"]["Platform"]["architecture"]
        for each in found.get("Manifests") or ()
        if each["Available"] and each.get("ImageData")
    ]
    return set(listed or [found["Architecture"]])


@pytest.mark.parametrize("target", [WEB_1, "group:web"])
def test_a_platform_that_is_asked_for_is_what_comes(
    cluster: Cluster, engines: Sequence[Engine], both: Both, target: str
) -> None:
    found = results(cluster.pull(target, both.reference, platform=FOREIGN))
    assert {each["status"] for each in found.values()} == {"ok"}
    assert {each["digest"] for each in found.values()} == {both.digest}
    for engine, _ in zip(engines, found, strict=False):
        assert available(engine, both.reference) == {"arm64"}

    again = results(cluster.pull(target, both.reference, platform=f"{FOREIGN}/v8"))
    assert {each["changed"] for each in again.values()} == {False}

    own = results(cluster.pull(target, both.reference))
    assert {(each["status"], each["changed"]) for each in own.values()} == {("ok", True)}
    for engine, _ in zip(engines, found, strict=False):
        assert "amd64" in available(engine, both.reference)


def test_missing_leaves_alone_only_what_is_for_the_platform(
    cluster: Cluster, engines: Sequence[Engine], both: Both
) -> None:
    engines[0].pull(both.reference, FOREIGN)
    for platform, changed in ((FOREIGN, False), (None, True), (None, False)):
        asked = {} if platform is None else {"platform": platform}
        (found,) = results(cluster.pull(WEB_1, both.reference, policy="missing", **asked)).values()
        assert (found["status"], found["changed"]) == ("ok", changed), (platform, found)


def test_a_digest_is_pulled_for_the_platform_too(
    cluster: Cluster, engines: Sequence[Engine], both: Both
) -> None:
    (found,) = results(cluster.pull(WEB_1, both.by_digest, platform=FOREIGN)).values()
    assert (found["status"], found["digest"]) == ("ok", both.digest)
    assert available(engines[0], both.by_digest) == {"arm64"}
    answer = cluster.pull(WEB_1, both.by_digest)
    if engines[0].kind is EngineKind.CONTAINERD:
        assert results(answer)[WEB_1]["changed"] is True
        assert available(engines[0], both.by_digest) == {"amd64", "arm64"}
    else:
        # A plain pull of this engine fails there as well: it keeps to one image for a digest.
        assert "annot overwrite digest" in answer.json()["details"]


def test_an_image_for_another_platform_alone_is_pulled_again_once_its_tag_has_moved(
    cluster: Cluster, engines: Sequence[Engine], registry: Registry, image: PushedImage
) -> None:
    name = f"{image.repository}-foreign"
    foreign = registry.push_image(name, "1.0", [random_layer(name)], architecture="arm64")
    for engine in engines:
        engine.pull(foreign.reference)
    answer = cluster.pull("group:web", foreign.reference)
    assert {each["status"] for each in results(answer).values()} == {"ok"}
    registry.push_image(name, "1.0", [random_layer(f"{name} moved")], architecture="arm64")
    made = cluster.admin.post(
        f"/job/{answer.json()['job_id']}/retry", json={"target_hostname": "group:web"}
    )
    again = cluster.ended(made.raise_for_status().json()["job_id"])
    assert [each["digest"] for each in again["results"]] == [foreign.digest] * 2
    assert [each["changed"] for each in again["results"]] == [False] * 2


def test_what_an_image_is_not_for_fails_and_leaves_nothing(
    cluster: Cluster, engines: Sequence[Engine], both: Both, registry: Registry
) -> None:
    before = len(registry.log)
    answer = cluster.pull(WEB_1, both.reference, platform="linux/s390x")
    assert answer.status_code == 500
    assert "linux/s390x" in answer.json()["details"]
    assert engines[0].image(both.reference) is None
    assert not [line for line in registry.log[before:].splitlines() if "/blobs/" in line]


@pytest.mark.parametrize("platform", ["arm64", "linux/x86_64", "", 7, ["linux/arm64"]])
def test_what_is_no_platform_is_refused_before_anything_is_pulled(
    cluster: Cluster, both: Both, platform: object
) -> None:
    answer = cluster.pull(WEB_1, both.reference, platform=platform)
    assert answer.status_code == 400
    assert "platform" in json.dumps(answer.json())


def test_nodes_of_several_platforms_pull_one_digest_and_each_its_own_image(
    engines: Sequence[Engine], both: Both, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The second engine is made one of another platform by what stands before it."""
    with FaultyProxy.before_engine(engines[1]) as proxy:
        version = json.dumps({**engines[1].version(), "Arch": "arm64"}).encode()
        proxy.fault = Answer(match="/version", status=200, body=version)
        proxy.rewrite = (b"/images/create?", b"/images/create?platform=linux%2Farm64&")
        plans = [
            NodePlan(WEB_1, engines[0].url, ("group:web",)),
            NodePlan(WEB_2, proxy.url, ("group:web",)),
        ]
        with Cluster(tmp_path_factory.mktemp("platforms"), plans) as cluster:
            for changed in (True, False):
                found = results(cluster.pull("group:web", both.reference))
                assert {each["status"] for each in found.values()} == {"ok"}, found
                assert {each["digest"] for each in found.values()} == {both.digest}
                assert {each["changed"] for each in found.values()} == {changed}
                assert available(engines[0], both.reference) == {"amd64"}
                assert available(engines[1], both.reference) == {"arm64"}
