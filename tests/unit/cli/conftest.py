"""Commands run in this process, without any parts."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from tests.testing.command import Finished
from tests.testing.screens import Terminal
from tests.unit.stub import StubController
from towline.cli import main


class Here:
    """Runs `towline` in this process with no settings but those given; as `CommandLine`."""

    def __init__(self, state: Path, env: Mapping[str, str] | None = None) -> None:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TOWLINE_")}
        self._env = {**clean, "STATE_DIRECTORY": str(state), "TOWLINE_CONFIG": "/dev/null"}
        self._env["XDG_CONFIG_HOME"] = "/nowhere"
        self._env |= env or {}

    def __call__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        columns: int | None = None,
    ) -> Finished:
        """Run a command; with `columns`, standard output is a terminal that has so many."""
        stdout, stderr = io.StringIO(), io.StringIO()
        if columns is not None:
            stdout, env = Terminal(), {**(env or {}), "COLUMNS": str(columns)}
        given = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        with (
            mock.patch.dict(os.environ, {**self._env, **(env or {})}, clear=True),
            mock.patch.object(sys, "stdin", given),
            redirect_stdout(stdout),
            redirect_stderr(stderr),
        ):
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as ended:
                status = ended.code
            else:
                status = 0
        assert isinstance(status, int)
        return Finished(status, stdout.getvalue(), stderr.getvalue())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory that is not there yet."""
    return tmp_path / "state"


@pytest.fixture
def towline(state: Path) -> Here:
    """Commands that know no controller."""
    return Here(state)


@pytest.fixture
def asking(state: Path, controller: StubController) -> Here:
    """Commands that ask `controller`."""
    return Here(state, {"TOWLINE_URL": controller.url, "TOWLINE_TOKEN": "a.b.c"})
