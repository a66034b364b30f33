"""Names that the documentation gives to its readers: each can be used as it is written."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import towline
from towline.client import AsyncClient, AsyncJob, Client, Job

ROOT = Path(__file__).parents[2]
NOT_NAMES = {"towline.toml", "towline.invalid"}
"""A file and a host."""


def texts() -> Iterator[str]:
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        yield path.read_text()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


def resolve(dotted: str) -> object:
    """Return what a dotted name means; raises `AttributeError`."""
    found: object = towline
    place = "towline"
    for part in dotted.split(".")[1:]:
        place = f"{place}.{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(place)
            except ModuleNotFoundError as error:
                raise AttributeError(f"there is no {dotted}") from error
    return found


def test_every_name_that_is_written_down_is_there() -> None:
    names = {
        name
        for text in texts()
        for name in re.findall(r"(?<![\w./-])towline(?:\.[A-Za-z_]\w*)+", text)
    }
    assert {"towline.Client", "towline.AsyncClient", "towline.operations.docker.pull"} <= names
    for name in sorted(names - NOT_NAMES):
        assert resolve(name) is not None


def test_every_import_that_is_written_down_works() -> None:
    imports = [
        (module, name.strip())
        for text in texts()
        for module, names in re.findall(r"from (towline[\w.]*) import ([\w, ]+)", text)
        for name in names.split(",")
    ]
    assert ("towline.operations", "docker") in imports
    for module, name in imports:
        resolve(f"{module}.{name}")


def test_every_method_of_clients_and_jobs_that_is_written_down_is_there() -> None:
    methods = {
        call for text in texts() for call in re.findall(r"\b(client|job)\.([a-z_]+)\(", text)
    }
    assert ("client", "run") in methods
    for owner, method in methods:
        for kind in (Client, AsyncClient) if owner == "client" else (Job, AsyncJob):
            assert callable(getattr(kind, method))


@pytest.mark.parametrize("name", ["ApiError", "AsyncClient", "Client", "Credential"])
def test_what_people_need_stands_at_the_top(name: str) -> None:
    assert name in towline.__all__
    assert resolve(f"towline.{name}") is resolve(f"towline.client.{name}")


def test_what_is_not_there_is_not_invented() -> None:
    assert not hasattr(towline, "nothing")
