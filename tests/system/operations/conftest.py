"""A fleet that knows modules of new operations."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.system.operations.sources import HARBOUR, OLD, SHIP, SIGNAL
from tests.testing.cluster import WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.process import TowlineProcess
from towline.operation import catalog


@pytest.fixture(scope="package")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the modules are."""
    directory = tmp_path_factory.mktemp("new-operation")
    (directory / "signals.py").write_text(SIGNAL)
    (directory / "ships.py").write_text(SHIP)
    (directory / "harbours.py").write_text(HARBOUR)
    return directory


@pytest.fixture(scope="package")
def env(directory: Path) -> dict[str, str]:
    """The settings that make a part import them."""
    path = os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))
    facts = directory / "facts"
    facts.mkdir()
    (facts / "ship.json").write_text('{"wind-from": "south"}')
    modules = {"TOWLINE_OPERATIONS": "signals,ships,harbours", "PYTHONPATH": path}
    return modules | {"TOWLINE_FACTS": str(facts)}


@pytest.fixture(scope="package")
def extended(directory: Path, env: dict[str, str]) -> Iterator[Cluster]:
    """A controller and two nodes that have them, and one node that hasn't.

    Shared by the tests of operations; whatever a test takes away it brings back.
    """
    with Cluster(directory, [NodePlan(WEB_1), NodePlan(WEB_2)], env) as cluster:
        older = TowlineProcess(
            *("agent", "--hostname", OLD, "--engine", "none", "--state", directory / OLD),
            *cluster.broker.agent_login,
            logs=directory,
            name=f"agent-{OLD}",
            env={"TOWLINE_HEARTBEAT": "1s"},
        )
        with older:
            cluster.wait_here(OLD)
            yield cluster


@pytest.fixture
def imported(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module as a program does; afterwards nothing knows it any more."""
    monkeypatch.syspath_prepend(directory)
    before = {operation.name for operation in catalog}
    yield importlib.import_module
    for operation in list(catalog):
        if operation.name not in before:
            catalog.remove(operation.name)
    for name in ("signals", "ships", "harbours"):
        sys.modules.pop(name, None)


@pytest.fixture
def modules(imported: Callable[[str], ModuleType]) -> tuple[ModuleType, ModuleType]:
    """The first two of them."""
    return imported("signals"), imported("ships")
