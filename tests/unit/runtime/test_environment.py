"""Empty environment variables: they count as unset, whatever they are for."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from towline.agent.docker.pull import docker_config
from towline.runtime import process, state_directory
from towline.runtime.config import Settings, load

FILE = """
labels = ["group:file"]
operations = ["file"]
"""
VARIABLES = [f"TOWLINE_{field.name.upper()}" for field in msgspec.structs.fields(Settings)]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TOWLINE_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_empty_setting_counts_as_unset(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "towline.toml"
    path.write_text(FILE)
    expected = load(str(path))
    monkeypatch.setenv(variable, "")
    assert load(str(path)) == expected


def test_an_empty_name_of_the_configuration_file_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = load(None)
    monkeypatch.setenv("TOWLINE_CONFIG", "")
    assert load(None) == expected


@pytest.mark.parametrize("variable", ["STATE_DIRECTORY", "XDG_STATE_HOME"])
@pytest.mark.parametrize("user", [0, 1000])
def test_an_empty_place_for_state_counts_as_unset(
    variable: str, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    expected = state_directory.default_directory()
    monkeypatch.setenv(variable, "")
    assert state_directory.default_directory() == expected


def test_an_empty_place_of_dockers_configuration_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    expected = docker_config.default_path()
    monkeypatch.setenv("DOCKER_CONFIG", "")
    assert docker_config.default_path() == expected


def test_an_empty_socket_of_the_service_manager_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    process.notify("READY=1")
