"""Towline on its real parts."""

from collections.abc import Iterator, Sequence

import pytest

from tests.parts.cluster import Cluster, NodePlan
from tests.parts.engine import Engine
from tests.parts.proxy import FaultyProxy

WEB_1, WEB_2, DB_1, FRAIL = "web-01", "web-02", "db-01", "frail"
LABELS = {WEB_1: "group:web.dev.eu", WEB_2: "group:web.prod", DB_1: "group:website"}


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
def proxy(engines: Sequence[Engine]) -> Iterator[FaultyProxy]:
    """What stands between the node `frail` and its engine, the first of the three."""
    with FaultyProxy.before_engine(engines[0]) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def frail(proxy: FaultyProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node, `frail`, whose engine's answers can be spoilt on the way."""
    with Cluster(tmp_path_factory.mktemp("frail"), [NodePlan(FRAIL, proxy.url)]) as cluster:
        yield cluster
