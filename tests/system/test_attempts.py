"""Pulls that are tried again, broken off and gone on with, on both kinds of engine."""

from collections.abc import Iterator, Sequence

import pytest

from tests.parts.cluster import Cluster
from tests.parts.engine import Engine, EngineKind
from tests.parts.proxy import Cut, FaultyProxy
from tests.parts.registry import PushedImage, Registry, random_layer
from tests.system.conftest import WEB_1, results

MB = 1 << 20


@pytest.fixture(scope="module")
def _between(registry: Registry) -> Iterator[FaultyProxy]:
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


@pytest.fixture
def between(_between: FaultyProxy) -> Iterator[FaultyProxy]:
    """What stands between engines and registry; whatever a test does to it ends with the test."""
    _between.served = 0
    yield _between
    _between.fault = _between.rate = None


def through(proxy: FaultyProxy, image: PushedImage) -> str:
    return f"{proxy.host}/{image.reference.partition('/')[2]}"


def attempts(cluster: Cluster, job_id: str) -> list[str]:
    """Return what a job's timeline tells of attempts that failed."""
    timeline = cluster.job(job_id, wait=0)["timeline"]
    return [moment["error"] for moment in timeline if moment["event"] == "attempt"]


def test_after_a_cut_a_pull_goes_on_from_there(
    cluster: Cluster,
    engines: Sequence[Engine],
    registry: Registry,
    between: FaultyProxy,
    image: PushedImage,
) -> None:
    sizes = (MB, 24 * MB)
    layers = [random_layer(f"{image.repository} {size}", size) for size in sizes]
    large = registry.push_image(image.repository, "large", layers)
    reference = through(between, large)
    between.rate = 16 * MB
    between.fault = Cut(match=large.layer_digests[1], after=int(0.6 * sizes[1]), once=True)

    answer = cluster.pull(WEB_1, reference)

    assert results(answer)[WEB_1]["status"] == "ok"
    assert between.fault is None
    assert between.served <= 1.1 * sum(sizes)
    told = attempts(cluster, answer.json()["job_id"])
    if engines[0].kind is EngineKind.CONTAINERD:
        assert ["reset by peer" in words for words in told] == [True]
    else:
        # Engine 20.10 goes on by itself, for as many times as its own settings say.
        assert told == []
    finished = f"GET /v2/{large.repository}/blobs/{large.layer_digests[0]}"
    assert between.requests.count(finished) == 1
