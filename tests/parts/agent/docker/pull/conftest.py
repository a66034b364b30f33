"""What pulls are tried at: each engine that the table of words knows, each in turn."""

import os
from collections.abc import Iterator

import pytest

from tests.parts.agent.docker.conftest import PODMAN
from tests.testing.engine import EngineKind
from tests.testing.proxy import FaultyProxy
from tests.testing.registry import Registry

ALL = "TOWLINE_TEST_ALL"
"""The variable that has each case tried at every engine; `scripts/test long` sets it."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave each of several cases to one engine, each engine in turn: all together take minutes."""
    if os.environ.get(ALL):
        return
    cases: dict[str, dict[str, int]] = {}
    left: list[pytest.Item] = []
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if "which" not in params or len(params) < 2:
            continue
        which = str(params["which"])
        engines = [*map(str, EngineKind), PODMAN]
        # Not all engines take part in each case.
        engines = [each for each in engines if each in getattr(params.get("case"), "rows", engines)]
        case = item.nodeid.replace(which, "")
        known = cases.setdefault(item.nodeid.partition("[")[0], {})
        number = known.setdefault(case, len(known))
        if which != engines[number % len(engines)]:
            left.append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


@pytest.fixture(scope="session")
def _between(registry: Registry) -> Iterator[FaultyProxy]:
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


@pytest.fixture
def between(_between: FaultyProxy) -> Iterator[FaultyProxy]:
    """What stands between engine and registry; whatever a test does to it ends with the test."""
    _between.count_anew()
    yield _between
    _between.fault = _between.rate = None
