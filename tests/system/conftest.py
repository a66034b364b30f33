"""Towline on its real parts."""

import re
from collections.abc import Iterator, Sequence

import pytest

from tests.testing.cluster import FRAIL, LABELS, Cluster, NodePlan
from tests.testing.engine import Engine
from tests.testing.proxy import FaultyProxy
from tests.testing.registry import PushedImage, Registry, random_layer


@pytest.fixture(scope="session")
def cluster(
    engines: Sequence[Engine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Three nodes with an engine each, once for each kind of engine.

    A test that stops a node starts it again.
    """
    plans = [
        NodePlan(hostname, engine.url, (label,))
        for (hostname, label), engine in zip(LABELS.items(), engines, strict=True)
    ]
    with Cluster(tmp_path_factory.mktemp("cluster"), plans) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes without an engine, for what no engine has a part in."""
    plans = [NodePlan(hostname, labels=(label,)) for hostname, label in LABELS.items()]
    with Cluster(tmp_path_factory.mktemp("fleet"), plans) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _proxy(engines: Sequence[Engine]) -> Iterator[FaultyProxy]:
    with FaultyProxy.before_engine(engines[0]) as proxy:
        yield proxy


@pytest.fixture
def proxy(_proxy: FaultyProxy) -> Iterator[FaultyProxy]:
    """What stands between the node `frail` and its engine, the first of the three.

    Whatever a test does to it ends with the test.
    """
    yield _proxy
    _proxy.fault = None


@pytest.fixture
def image(registry: Registry, request: pytest.FixtureRequest) -> PushedImage:
    """An image that no engine has seen."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return registry.push_image(f"system/{name}", "1.0", [random_layer(request.node.name)])


@pytest.fixture(scope="session")
def frail(_proxy: FaultyProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node, `frail`, whose engine's answers can be spoilt on the way."""
    with Cluster(tmp_path_factory.mktemp("frail"), [NodePlan(FRAIL, _proxy.url)]) as cluster:
        yield cluster
