"""A command that is made of a module of the user's own takes the place of none by hand."""

import itertools
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from towline.cli.commands import cli
from towline.endpoint import endpoints
from towline.errors import InvalidConfiguration

SOURCE = """
from towline.endpoint import Context, endpoint


@endpoint("{name}", "GET /{name}", permission="node:read", command="{command}")
async def found(context: Context) -> None:
    '''Something else.'''
"""
_numbers = itertools.count()


@pytest.mark.parametrize(
    ("command", "asked"),
    [("registry set", ["registry", "--help"]), ("cancel", ["--help"]), ("up start", ["--help"])],
)
def test_a_made_command_with_the_name_of_one_by_hand_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, asked: list[str]
) -> None:
    module = f"clashing_{next(_numbers)}"
    name = f"{module}.found"
    (tmp_path / f"{module}.py").write_text(SOURCE.format(name=name, command=command))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TOWLINE_OPERATIONS", module)
    try:
        found = CliRunner().invoke(cli, asked)
    finally:
        endpoints.remove(name)
        del sys.modules[module]
    assert isinstance(found.exception, InvalidConfiguration)
    assert f"{name}> can't be the command `towline {command}`" in found.exception.error
