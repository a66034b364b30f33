"""Whoever a text is from, nothing that commands print controls a terminal."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml  # type: ignore[import-untyped]
from msgspec import inspect

import towline.cli
from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController, events
from towline.cli.form import OUTPUTS
from towline.endpoints import offered

HOSTILE = "a\x1b]0;x\x07b\x9b31mc\u202ed\u2066e\nf\rg\x7fh\u2028i\x85"
"""What sets a terminal's title, colours what follows, turns its direction, and begins lines."""
JOB = "550e8400-e29b-41d4-a716-446655440000"
MOMENT = "2030-01-31T12:00:00Z"
SOURCE = Path(towline.cli.__file__).parent


def hostile(kind: inspect.Type) -> Any:
    """Return an answer of a type, with the same hostile text wherever one may stand."""
    match kind:
        case inspect.StrType(pattern=None):
            return HOSTILE
        case inspect.StrType() | inspect.UUIDType():
            return JOB
        case inspect.IntType() | inspect.FloatType():
            return 1
        case inspect.BoolType():
            return True
        case inspect.DateTimeType():
            return MOMENT
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.ListType(item_type=item) | inspect.CollectionType(item_type=item):
            return [hostile(item)]
        case inspect.DictType(value_type=inspect.AnyType()):
            return {"hostname": HOSTILE, "status": HOSTILE, HOSTILE: HOSTILE}  # a result's row
        case inspect.DictType(value_type=value):
            return {HOSTILE: hostile(value)}
        case inspect.UnionType(types=types):
            return hostile(types[0])
        case inspect.StructType(fields=fields):
            return {field.encode_name: hostile(field.type) for field in fields}
        case inspect.Metadata(type=inner):
            return hostile(inner)
        case inspect.AnyType() | inspect.RawType():
            return {HOSTILE: HOSTILE}
        case _:
            raise AssertionError(f"no hostile {kind}")


def of(endpoint: str) -> Any:
    """Return a hostile answer of an endpoint."""
    (found,) = [each for each in offered if each.name == endpoint]
    answer = hostile(inspect.type_info(found.result))
    msgspec.convert(answer, found.result, strict=False)
    return answer


COMMANDS = {
    "nodes": ("GET /agent", "agent.list"),
    "node show web-01": ("GET /agent/web-01", "agent.get"),
    "drain web-01": ("POST /agent/web-01/drain", "agent.drain"),
    "undrain web-01": ("POST /agent/web-01/undrain", "agent.undrain"),
    "jobs": ("GET /job", "job.list"),
    f"job {JOB}": (f"GET /job/{JOB}", "job.get"),
    f"cancel {JOB}": (f"POST /job/{JOB}/cancel", "job.cancel"),
    f"pause {JOB}": (f"POST /job/{JOB}/pause", "job.pause"),
    "registry list": ("GET /registry", "registry.list"),
    "registry get r.internal": ("GET /registry/r.internal", "registry.get"),
    "health": ("GET /health/status", "health.status"),
}


def harmless(text: str) -> None:
    """Check that a text has what a terminal shows, and nothing else."""
    assert all(character.isprintable() for character in text.replace("\n", "")), repr(text)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_answers_are_printed_without_what_controls_a_terminal(
    asking: Here, controller: StubController, command: str, output: str
) -> None:
    route, endpoint = COMMANDS[command]
    answer = of(endpoint)
    controller.answers[route] = Answer(answer)
    done = asking(*command.split(), "--output", output)
    assert done.status == (command == "health"), done  # what is degraded there
    harmless(done.stdout + done.stderr)
    if output == "json":
        assert json.dumps(HOSTILE) in json.dumps(json.loads(done.stdout))
    elif output == "yaml":
        assert json.dumps(HOSTILE) in json.dumps(yaml.safe_load(done.stdout))
    elif output != "name":
        assert "f\\rg" in done.stdout


@pytest.mark.parametrize("output", ["table", "json"])
def test_events_are_printed_without_it(
    asking: Here, controller: StubController, output: str
) -> None:
    event = {"job_id": JOB, "event": "failed", "hostname": HOSTILE, "error": HOSTILE}
    end = ("end", {"job_id": JOB, "status": "failed", "nodes": {HOSTILE: 1}})
    controller.answers[f"GET /job/{JOB}/events"] = events(("failed", event), end)
    controller.answers[f"GET /job/{JOB}/progress"] = events(end)
    controller.answers[f"GET /job/{JOB}"] = Answer(of("job.get"))
    done = asking("job", JOB, "--follow", "--output", output)
    assert "f\\rg" in done.stdout
    harmless(done.stdout + done.stderr)


@pytest.mark.parametrize("command", [*COMMANDS, "pull nginx --on _all", f"delete {JOB}"])
def test_refusals_are_printed_without_it(
    asking: Here, controller: StubController, command: str
) -> None:
    controller.default = Answer({"error": HOSTILE, "details": f"{HOSTILE} more", "code": 400}, 400)
    done = asking(*command.split())
    assert done.status == 2
    assert "f\\rg" in done.stderr
    harmless(done.stdout + done.stderr)


def test_all_that_is_printed_goes_through_one_function() -> None:
    for path in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            # What `towline trust` prints is this machine's own.
            if isinstance(node, ast.Call) and path.name not in ("terminal.py", "trust.py"):
                assert ast.unparse(node.func) not in ("print", "click.echo", "sys.stdout.write")
