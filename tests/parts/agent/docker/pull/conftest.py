"""What pulls are tried at: each engine that the table of words knows."""

import os
from collections.abc import Iterator, Sequence

import pytest

from tests.testing.engine import Engine, EngineKind, why_missing
from tests.testing.engine_api import EngineApi
from tests.testing.pool import Pool
from tests.testing.proxy import FaultyProxy
from tests.testing.registry import Registry

PODMAN = "podman"
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


@pytest.fixture(params=[*EngineKind, PODMAN], ids=str)
def which(request: pytest.FixtureRequest) -> str:
    """The name of an engine; each in turn."""
    name = str(request.param)
    if name == EngineKind.CONTAINERD and (missing := why_missing(EngineKind.CONTAINERD)):
        pytest.skip(missing)
    return name


@pytest.fixture
def daemon(
    which: str, request: pytest.FixtureRequest, _engines: Pool[EngineKind, Sequence[Engine]]
) -> EngineApi:
    """An engine, shared by the whole run: use images of your own."""
    if which == PODMAN:
        found: EngineApi = request.getfixturevalue("podman")
    else:
        found = _engines[EngineKind(which)][0]
    # On a busy machine Podman's first answer takes longer than an agent waits for it.
    found.version()
    return found


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
