"""What commands import: nothing slow that they don't use, and no part but to start it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import towline

SOURCE = Path(towline.__file__).parent
PARTS = ("towline.controller.", "towline.agent.", "towline.runtime.", "towline.broker.")
CONFIGURATION = "towline.runtime.config"
START_PARTS = {"cli/serve.py", "cli/token.py", "cli/local.py"}
"""Modules that start parts, or read and sign what belongs to them."""
SLOW = ("httpx", "rich", "nats", "aiodocker", "starlette", "uvicorn", "structlog", "jwt", "nacl")


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


@pytest.mark.parametrize("arguments", [["--help"], ["pull", "--help"], ["nodes", "--help"]])
def test_help_imports_nothing_slow(arguments: list[str]) -> None:
    program = (
        "import contextlib, sys\n"
        "from towline.cli import main\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    main({arguments!r})\n"
        f"print([name for name in {SLOW!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
