"""Engines of each kind, and Podman."""

from collections.abc import Sequence

import pytest

from tests.testing.engine import Engine, EngineKind, why_missing
from tests.testing.engine_api import EngineApi
from tests.testing.pool import Pool

PODMAN = "podman"


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
