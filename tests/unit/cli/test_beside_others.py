"""What docs/cli.md says that people type here is a command line that is taken."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import click
import pytest

from towline.cli.commands import cli

DOCUMENT = Path(__file__).parents[3] / "docs" / "cli.md"
ROW = re.compile(r"(?m)^\| (?P<there>.+?) \| (?P<here>`towline .+?`) \| (?P<note>.*)\|$")


def rows() -> list[re.Match[str]]:
    _, _, section = DOCUMENT.read_text().partition("\n## Beside docker, kubectl and nomad\n")
    return [*ROW.finditer(section.partition("\n## ")[0])]


COMMANDS = [
    command
    for row in rows()
    for command in re.findall("`(towline [^`]+)`", f"{row['here']} {row['note']}")
]


def taken(command: str) -> None:
    """Read a command line to its end, and run nothing; raises where it is not valid."""
    name, *arguments = shlex.split(command)
    context = cli.make_context(name, arguments)
    while isinstance(context.command, click.Group) and context._protected_args:
        rest = [*context._protected_args, *context.args]
        word, found, rest = context.command.resolve_command(context, rest)
        assert found is not None
        context = found.make_context(word, rest, parent=context)


def test_the_table_has_a_row_for_what_is_typed_most() -> None:
    there = " ".join(row["there"] for row in rows())
    assert len(rows()) > 30
    for other in ("docker", "kubectl", "nomad"):
        assert there.count(f"`{other} ") > 5


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_beside_those_of_other_tools_is_taken(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images.txt").write_text("nginx:1.27\n")
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(click.exceptions.Exit):  # of --help and --version
        taken(command)


def test_one_that_there_is_not_would_be_refused() -> None:
    for command in ("towline nothing", "towline pull nginx", "towline node list --lable a:b"):
        with pytest.raises(click.UsageError):
            taken(command)
