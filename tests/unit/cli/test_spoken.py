"""Whoever typed a command is told of commands and options, not of routes and fields."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import towline
from tests.unit.cli.conftest import Here
from tests.unit.cli.test_usage import COMMANDS
from tests.unit.stub import Answer, StubController
from towline import errors
from towline.cli import spoken
from towline.cli.commands import spelt_out
from towline.endpoints import offered
from towline.errors import ApiError, TowlineError

SOURCE = Path(towline.__file__).parent
ANSWERED = ("controller", "endpoints", "wire", "options.py", "signature")
"""Where texts are written that the API answers."""
FAMILY = {
    *(
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, TowlineError)
    ),
    *("because", "ValueError", "InvalidTarget", "sentence"),
}
"""What texts of errors are given to."""


@functools.cache
def texts() -> list[tuple[str, str]]:
    """Return each text of an error that the API answers, and where it stands.

    What is put into one is `X` here. It takes seconds, and not where tests are only collected.
    """
    return list(_texts())


def _texts() -> Iterator[tuple[str, str]]:
    for room in ANSWERED:
        place = SOURCE / room
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            for node in ast.walk(ast.parse(path.read_text())):
                # A beginning that several errors share.
                if isinstance(node, ast.Assign) and spoken.ROUTE.match(_text(node.value)):
                    yield f"{path.relative_to(SOURCE)}:{node.lineno}", _text(node.value)
                if not isinstance(node, ast.Call):
                    continue
                called = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
                if called in FAMILY:
                    for argument in node.args:
                        yield f"{path.relative_to(SOURCE)}:{argument.lineno}", _text(argument)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(each) for each in node.values)
    if isinstance(node, ast.BinOp | ast.IfExp):
        return " ".join(_text(each) for each in ast.iter_child_nodes(node))
    return "X" if isinstance(node, ast.FormattedValue) else ""


def test_each_route_that_an_error_names_is_a_command_that_there_is() -> None:
    routes = {found[0] for _, text in texts() for found in spoken.ROUTE.finditer(text)}
    assert len(routes) > 8
    assert "POST /job/X/cancel" in routes
    for route in routes - {spoken.UNKNOWN}:
        said = spoken.in_commands(f"{route} does it", {})
        assert said.startswith("towline "), route
        assert said.endswith(" does it"), route
        _, *words = said.removesuffix(" does it").split()
        assert " ".join(word for word in words if word != "X") in COMMANDS, route


def test_what_an_endpoint_calls_its_command_is_one() -> None:
    for endpoint in offered:
        if endpoint.typed is not None:
            words = [word for word in endpoint.typed.split() if not word.startswith("-")]
            assert " ".join(spelt_out(words)) in COMMANDS, endpoint
            assert endpoint.command in (None, endpoint.typed)


FIELDS = {
    name
    for endpoint in offered
    for name in endpoint.signature.struct(None).__struct_fields__
    if "_" in name
}


def test_an_error_writes_a_field_in_backticks() -> None:
    """Otherwise it could not be told from what somebody has called so."""
    for place, text in texts():
        plain = re.sub(r"`[^`]*`", "", text)
        assert not FIELDS & {*re.findall(r"\w+", plain)}, place
        for field in spoken.FIELD.findall(text):
            assert field in {"X", *spoken.ELSEWHERE, *spoken.job_options()}, f"{place}: {field}"


def test_fixed_words_of_a_path_are_no_names() -> None:
    assert spoken.command_of("GET", "/agent/pending") == "towline node pending"
    assert spoken.command_of("GET", "/agent/web-01") == "towline node show web-01"
    assert spoken.command_of("DELETE", "/agent/a b") == "towline node remove 'a b'"
    for route in (("POST", "/images/create"), ("PUT", "/agent"), ("GET", "/agent/a/b/c")):
        assert spoken.command_of(*route) is None


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("let it pass POST /images/create", "let it pass POST /images/create"),
        ("`max_parallel` or `canary`", "--max-parallel or --canary"),
        ("'canary' is no node", "'canary' is no node"),
        ("Expected `int` - at `$.limit`", "Expected `int` - at --limit"),
        ("at `$.image`", "at IMAGE"),
        ("Give `target_hostname`", "Give --on"),
        ("The Idempotency-Key 'a' came", "The --idempotency-key 'a' came"),
        ("The header X-Registry-Auth is bad", "The option --registry-user is bad"),
        ("POST /job/1/resume lets it", "towline job resume 1 lets it"),
    ],
)
def test_a_text_is_translated(said: str, heard: str) -> None:
    command = click.Command(
        "one", params=[click.Option(["-n", "--limit", "limit"]), click.Argument(["image"])]
    )
    error = ApiError(said, f"so: {said}")
    spoken.translate(error, command)
    assert (error.error, error.details) == (heard, f"so: {heard}")


def test_what_the_controller_answers_is_printed_so(
    asking: Here, controller: StubController
) -> None:
    refusal = {"error": "It is paused.", "details": "POST /job/7/resume lets it go on", "code": 409}
    controller.default = Answer(refusal, 409)
    said = asking("node", "drain", "web-01").stderr
    assert said == "towline: It is paused.\n  towline job resume 7 lets it go on\n"


def test_a_controller_that_lacks_the_route_is_called_an_older_one(
    asking: Here, controller: StubController
) -> None:
    refusal = {
        "error": "There is nothing at '/x'.",
        "details": f"{spoken.UNKNOWN} lists",
        "code": 404,
    }
    controller.default = Answer(refusal, 404)
    said = asking("node", "drain", "web-01").stderr
    assert "may be of an older version" in said
    assert "/" not in said


def test_what_the_client_refuses_is_named_by_its_option(asking: Here) -> None:
    said = asking("pull", "nginx", "--on", "web-01", "--canary", "none").stderr
    assert "--canary: 'none' is neither a number of nodes" in said
    assert "`" not in said


@pytest.mark.parametrize(
    ("words", "heard"),
    [
        (["--on", "web-01", "--window", "22:00"], "towline: --window: "),
        (["--on", "_any"], "towline: --on: "),
    ],
)
def test_and_begins_with_nothing_that_is_no_command(
    asking: Here, words: list[str], heard: str
) -> None:
    said = asking("ensure", "nginx", "--set", "web", *words).stderr
    assert said.startswith(heard)
    assert "set.put" not in said
