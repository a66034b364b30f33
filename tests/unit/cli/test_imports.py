"""What commands import: nothing slow that they don't use, and no part but to start it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import towline
from towline.cli.commands import Listed, cli
from towline.cli.generated import commands_made

SOURCE = Path(towline.__file__).parent
PARTS = tuple(f"towline.{room}." for room in ("controller", "agent", "runtime", "broker", "trust"))
CONFIGURATION = tuple(f"towline.runtime.{name}" for name in ("config", "contexts", "sources"))
START_PARTS = {
    *("cli/serve.py", "cli/token.py", "cli/local.py", "cli/part_keys.py", "cli/trust.py"),
    *("cli/listening.py", "cli/up.py", "cli/first_terminal.py", "cli/agent.py"),
    *("cli/rotation.py", "cli/first_contact.py"),
}
"""Modules that start parts, or read and sign what belongs to them."""
SLOW = (
    "httpx",
    "rich",
    "yaml",
    "nats",
    "aiodocker",
    "starlette",
    "uvicorn",
    "structlog",
    "jwt",
    "nacl",
)


def imported(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Yield each module of ours that is imported, and whether at the top of the file."""
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("towline."):
                yield name, id(node) in top


@pytest.mark.parametrize(
    "path",
    sorted(
        str(path.relative_to(SOURCE))
        for room in ("cli", "client")
        for path in (SOURCE / room).glob("*.py")
    ),
)
def test_only_what_starts_parts_imports_them_and_not_before_it_does(path: str) -> None:
    for name, at_top in imported(ast.parse((SOURCE / path).read_text())):
        if name.startswith(PARTS) and not name.startswith(CONFIGURATION):
            assert path in START_PARTS, f"{path} imports {name}"
            assert not at_top, f"{path} imports {name} before it needs it"


LATER = (
    *SLOW,
    *("asyncio", "importlib.metadata", "json", "msgspec"),
    *("towline.client", "towline.endpoint", "towline.operation", "towline.options"),
    *("towline.runtime.config", "towline.signature", "towline.wire"),
)
"""What the list of all commands needs nothing of, but for those of modules that settings name."""


def loaded(arguments: list[str], modules: tuple[str, ...], env: dict[str, str]) -> list[str]:
    """Return which of some modules a fresh process has imported after a command."""
    program = (
        "import contextlib, sys\n"
        "from towline.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    main({arguments!r})\n"
        f"print(*[name for name in {modules!r} if name in sys.modules])\n"
    )
    known = {name: value for name, value in os.environ.items() if not name.startswith("TOWLINE_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=known | {"TOWLINE_CONFIG": os.devnull} | env,
    )
    assert len(done.stdout.splitlines()) > 1, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("arguments", [["pull", "--help"], ["nodes", "--help"]])
def test_the_help_of_a_command_imports_nothing_slow(arguments: list[str]) -> None:
    assert loaded(arguments, SLOW, {}) == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_list_of_commands_imports_nothing_of_any_command(arguments: list[str]) -> None:
    seen = loaded(arguments, (*LATER, "towline.cli.commands"), {})
    assert seen == ["towline.cli.commands"]


def test_the_names_of_commands_are_completed_without_importing_any(tmp_path: Path) -> None:
    """But for the first time, when it is read which there are."""
    asked = {"_TOWLINE_COMPLETE": "bash", "XDG_CACHE_HOME": str(tmp_path)}
    loaded([], (), asked | {"_TOWLINE_LINE": "towline p"})
    unused = (*(name for name in LATER if name != "json"), "click", "towline.cli.commands")
    for line in ("towline p", "towline node dr", "towline pull --pol"):
        assert loaded([], unused, asked | {"_TOWLINE_LINE": line}) == []


def test_a_command_is_made_of_the_modules_that_are_listed_for_it() -> None:
    """Whichever commands were looked at before, and in this process all were."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        listed = cli.get_command(context, name)
        assert isinstance(listed, Listed)
        asked = [asked for words, asked in commands_made(context) if words[0] == name]
        for each in asked:
            assert each.function.__module__.startswith(listed.modules), (name, each)
