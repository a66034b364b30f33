"""Disk first: pulls on engines whose data root is a small disk."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.testing.answers import results
from tests.testing.cluster import PULL, Cluster, NodePlan
from tests.testing.engine import EngineKind, why_missing
from tests.testing.process import wait_until
from tests.testing.proxy import FaultyProxy, Freeze
from tests.testing.registry import Registry, random_layer
from tests.testing.small_engine import MIB, ROOM, SmallEngine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@pytest.fixture(scope="module")
def small() -> Iterator[dict[str, SmallEngine]]:
    """Small engines by kind, as many kinds as there are; each kind is its node's name, too."""
    with ExitStack() as stack:
        kinds = [kind for kind in EngineKind if why_missing(kind) is None]
        yield {kind: stack.enter_context(SmallEngine(kind)) for kind in kinds}


@pytest.fixture(scope="module")
def cluster(
    small: dict[str, SmallEngine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    plans = [NodePlan(hostname, engine.url) for hostname, engine in small.items()]
    with Cluster(tmp_path_factory.mktemp("small"), plans, ROOM) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def proxy(registry: Registry) -> Iterator[FaultyProxy]:
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def half(registry: Registry, proxy: FaultyProxy) -> str:
    """The reference, through the proxy, of an image of more than half a disk."""
    image = registry.push_image("room/half", "1.0", [random_layer("half", 40 * MIB)])
    return image.reference.replace(registry.host, proxy.host)


@pytest.fixture(params=list(EngineKind), ids=str)
def node(request: pytest.FixtureRequest, small: dict[str, SmallEngine]) -> str:
    """The name of a node."""
    if request.param not in small:
        pytest.skip(why_missing(request.param) or "")
    return str(request.param)


def error(cluster: Cluster, node: str, image: str) -> str:
    answer = cluster.pull(node, image)
    assert answer.status_code == 500, answer.text
    return str(answer.json()["details"])


def test_a_disk_that_is_nearly_full_takes_no_pull_and_the_registry_is_not_asked(
    cluster: Cluster,
    small: dict[str, SmallEngine],
    node: str,
    proxy: FaultyProxy,
    registry: Registry,
) -> None:
    image = registry.push_image(f"room/little-{node}", "1.0")
    reference = image.reference.replace(registry.host, proxy.host)
    engine = small[node]
    proxy.requests.clear()
    with engine.filled():
        refused = error(cluster, node, reference)
        foreseen = cluster.writer.post(
            f"/node/{node}/{PULL}?dry_run=true", json={"image": image.by_digest}
        )
    (row,) = foreseen.json()["results"]
    assert row["status"] == "would_fail"
    assert row["reason"].startswith("no room on the disk: 3")
    assert re.search(
        r"no room on the disk: 3[01]\.\d MiB of \d\d\.\d MiB are free in "
        rf"{re.escape(str(engine.images_on))}, and 32\.0 MiB are to stay free \(min-free\)",
        refused,
    ), refused
    assert proxy.requests == []
    assert engine.image(reference) is None

    assert results(cluster.pull(node, reference))[node]["status"] == "ok"


def test_a_pull_that_cannot_fit_is_ended_before_the_disk_is_full(
    cluster: Cluster, small: dict[str, SmallEngine], node: str, proxy: FaultyProxy, half: str
) -> None:
    """By its announced size: of its bytes few have come."""
    proxy.fault = Freeze(match="/blobs/", after=8 * MIB)
    try:
        ended = error(cluster, node, half)
    finally:
        proxy.fault = None
    found = re.search(r"no room on the disk: (.*) MiB are yet to be written", ended)
    assert found, ended
    assert 30 < float(found[1]) <= 80
    assert small[node].image(half) is None


def test_a_pull_that_leaves_too_little_is_ended_by_what_is_there(
    cluster: Cluster, small: dict[str, SmallEngine], node: str, proxy: FaultyProxy, half: str
) -> None:
    """By what others write meanwhile."""
    engine = small[node]
    image = proxy.host + half[half.index("/") :].replace("half", "little-" + node)
    engine.remove_all_images()
    proxy.requests.clear()
    proxy.fault = Freeze(match="/blobs/", after=100)
    try:
        job = cluster.pull(node, image, prefer="respond-async").json()["job_id"]
        wait_until(lambda: any("/blobs/" in each for each in proxy.requests), what="its blobs")
        with engine.filled():
            (result,) = cluster.ended(job)["results"]
    finally:
        proxy.fault = None
    assert result["status"] == "failed"
    assert "no room on the disk" in result["error"]
