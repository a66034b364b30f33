"""Three nodes, and commands that know them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.cluster import DB_1, NO_ENGINE, WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.command import CommandLine
from tests.testing.engine import Engine
from tests.testing.proxy import FaultyProxy


@pytest.fixture(scope="package")
def _gate(engine: Engine) -> Iterator[FaultyProxy]:
    with FaultyProxy.before_engine(engine) as proxy:
        yield proxy


@pytest.fixture
def proxy(_gate: FaultyProxy) -> Iterator[FaultyProxy]:
    """What stands between the node `web-01` and its engine."""
    yield _gate
    _gate.fault = None


@pytest.fixture(scope="package")
def mixed(_gate: FaultyProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes: with an engine, with one that is down, and with none."""
    plans = [
        NodePlan(WEB_1, _gate.url, ("group:web.dev",)),
        NodePlan(WEB_2, "unix:///nowhere.sock", ("group:web.prod",)),
        NodePlan(DB_1, NO_ENGINE, ("group:db",)),
    ]
    with Cluster(tmp_path_factory.mktemp("mixed"), plans) as cluster:
        yield cluster


@pytest.fixture
def towline(mixed: Cluster, tmp_path: Path) -> CommandLine:
    """Commands that know the cluster and have a token that may pull."""
    env = {"TOWLINE_URL": mixed.url, "TOWLINE_TOKEN": mixed.token("write")}
    return CommandLine(tmp_path, env)
