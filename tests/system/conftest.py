"""Fleets on real parts, started once and shared by the tests of the whole."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.testing.cluster import FRAIL, LABELS, Cluster, NodePlan
from tests.testing.engine import Engine, EngineKind
from tests.testing.pool import Pool
from tests.testing.proxy import FaultyProxy
from tests.testing.registry import PushedImage, Registry, random_layer


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes without an engine, shared by the whole run, for what no engine has a part in.

    Tests leave it as they found it: all nodes here, none drained, no credential kept.
    """
    plans = [NodePlan(hostname, labels=(label,)) for hostname, label in LABELS.items()]
    with Cluster(tmp_path_factory.mktemp("fleet"), plans) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def api(fleet: Cluster) -> dict[str, Any]:
    """The OpenAPI document as it is served."""
    answer = fleet.anyone.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    document: dict[str, Any] = answer.json()
    return document


@pytest.fixture(scope="session")
def _clusters(
    _engines: Pool[EngineKind, Sequence[Engine]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pool[EngineKind, Cluster]]:
    def cluster(kind: EngineKind) -> Cluster:
        plans = [
            NodePlan(hostname, engine.url, (label,))
            for (hostname, label), engine in zip(LABELS.items(), _engines[kind], strict=True)
        ]
        return Cluster(tmp_path_factory.mktemp(f"cluster-{kind}"), plans)

    with Pool(cluster) as pool:
        yield pool


@pytest.fixture(scope="session")
def cluster(engine_kind: EngineKind, _clusters: Pool[EngineKind, Cluster]) -> Cluster:
    """Three nodes with an engine each, once for each kind of engine, shared by the whole run.

    A test that stops a node starts it again.
    """
    return _clusters[engine_kind]


@pytest.fixture(scope="session")
def _proxies(
    _engines: Pool[EngineKind, Sequence[Engine]],
) -> Iterator[Pool[EngineKind, FaultyProxy]]:
    with Pool[EngineKind, FaultyProxy](
        lambda kind: FaultyProxy.before_engine(_engines[kind][0])
    ) as pool:
        yield pool


@pytest.fixture(scope="session")
def _frail_clusters(
    _proxies: Pool[EngineKind, FaultyProxy], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pool[EngineKind, Cluster]]:
    def cluster(kind: EngineKind) -> Cluster:
        plan = NodePlan(FRAIL, _proxies[kind].url)
        return Cluster(tmp_path_factory.mktemp(f"frail-{kind}"), [plan])

    with Pool(cluster) as pool:
        yield pool


@pytest.fixture(scope="session")
def frail(engine_kind: EngineKind, _frail_clusters: Pool[EngineKind, Cluster]) -> Cluster:
    """One node, `frail`, whose engine's answers can be spoilt on the way.

    Shared by the whole run, once for each kind of engine.
    """
    return _frail_clusters[engine_kind]


@pytest.fixture
def proxy(
    engine_kind: EngineKind, _proxies: Pool[EngineKind, FaultyProxy]
) -> Iterator[FaultyProxy]:
    """What stands between the node `frail` and its engine, the first of the three.

    Whatever a test does to it ends with the test.
    """
    proxy = _proxies[engine_kind]
    yield proxy
    proxy.fault = None


@pytest.fixture
def image(registry: Registry, request: pytest.FixtureRequest) -> PushedImage:
    """An image that no engine has seen."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return registry.push_image(f"system/{name}", "1.0", [random_layer(request.node.name)])
