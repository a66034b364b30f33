"""Five nodes and two controllers for jobs in waves, with gates that hold operations back."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.system.rollout.waves import BOTH, NODES
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.command import CommandLine
from tests.testing.gate import MODULE, Gate
from towline.operation import catalog


@pytest.fixture(scope="package")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds operations back."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="package")
def system(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Five nodes and two controllers, shared by the tests of the rollout.

    Whatever a test takes away it brings back.
    """
    plans = [NodePlan(name, labels=(BOTH,) if name in NODES[:2] else ()) for name in NODES]
    with Cluster(tmp_path_factory.mktemp("waves"), plans, env=gate.env) as cluster:
        cluster.add_controller()
        yield cluster


@pytest.fixture
def name(gate: Gate) -> Iterator[str]:
    """What nothing has passed under yet; whatever is held under it is let go with the test."""
    with gate.name() as name:
        yield name


@pytest.fixture
def towline(system: Cluster, gate: Gate, tmp_path: Path) -> CommandLine:
    """Commands that know the system, with a token that may do everything."""
    env = {"TOWLINE_URL": system.url, "TOWLINE_TOKEN": system.token("admin")}
    return CommandLine(tmp_path, env | gate.env)


@pytest.fixture
def operations(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The gate's operations as a program imports them; afterwards nothing knows them any more."""
    monkeypatch.syspath_prepend(gate.directory)
    before = {operation.name for operation in catalog}
    yield importlib.import_module(MODULE)
    for operation in list(catalog):
        if operation.name not in before:
            catalog.remove(operation.name)
    del sys.modules[MODULE]
