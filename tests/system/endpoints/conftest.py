"""A controller that knows a module of new endpoints."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.system.endpoints.sources import HARBOUR
from tests.testing.cluster import Cluster
from towline.endpoints import offered


@pytest.fixture(scope="package")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module is."""
    directory = tmp_path_factory.mktemp("new-endpoint")
    (directory / "harbours.py").write_text(HARBOUR)
    return directory


@pytest.fixture(scope="package")
def env(directory: Path) -> dict[str, str]:
    """The settings that make a part import it."""
    path = os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))
    return {"TOWLINE_OPERATIONS": "harbours", "PYTHONPATH": path}


@pytest.fixture(scope="package")
def port(directory: Path, env: dict[str, str]) -> Iterator[Cluster]:
    """A controller without nodes that has the module."""
    with Cluster(directory, [], env) as cluster:
        yield cluster


@pytest.fixture
def harbours(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module as a program imports it; afterwards nothing knows it any more."""
    monkeypatch.syspath_prepend(directory)
    before = {endpoint.name for endpoint in offered}
    yield importlib.import_module("harbours")
    for endpoint in list(offered):
        if endpoint.name not in before:
            offered.remove(endpoint.name)
    del sys.modules["harbours"]
