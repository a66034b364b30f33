"""A controller does not start with an endpoint that can't be offered, and says which and why."""

import os
from pathlib import Path

import pytest

from tests.testing.broker import Broker
from tests.testing.command import CommandLine, failed
from tests.testing.ports import free_port

HEAD = """
from typing import Annotated
import msgspec
from msgspec import Meta
from towline.signature import Check
from towline.endpoint import Context, endpoint

class Answer(msgspec.Struct):
    text: str
"""
UNFIT = {
    "complex": "async def unfit(context: Context, *, number: complex = 1j) -> Answer: ...",
    "'tags' stands in the query": (
        "async def unfit(context: Context, *, tags: list[str] | None = None) -> Answer: ..."
    ),
    "has to say what it returns": "async def unfit(context: Context): ...",
    "the default of the parameter 'number'": (
        "async def unfit(context: Context, *, number: Annotated[int, Meta(ge=1)] = 0) -> Answer:"
        " ..."
    ),
    "the default of the parameter 'w'": (
        "async def unfit(context: Context, *, w: Annotated[str, Check(int)] = 'x') -> Answer: ..."
    ),
    "Context2": "async def unfit(context: Context2) -> Answer: ...",
}


def _command(directory: Path) -> CommandLine:
    path = os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))
    return CommandLine(directory, {"TOWLINE_OPERATIONS": "unfit", "PYTHONPATH": path})


@pytest.mark.parametrize("word", UNFIT)
def test_a_type_that_requests_cannot_have_is_named(word: str, tmp_path: Path) -> None:
    (tmp_path / "unfit.py").write_text(
        f'{HEAD}\n@endpoint("unfit.get", "GET /unfit", permission="node:read")\n{UNFIT[word]}\n'
    )
    towline = _command(tmp_path)
    said = failed(towline("controller", "--nats", "nats://127.0.0.1:1"))
    assert "The module of operations 'unfit' can't be used" in said
    assert word in said


@pytest.mark.parametrize(
    ("route", "word"),
    [
        ("GET /job/{id}", "by job.get"),
        ("GET /job/{name}", "by job.get"),
        ("PUT /job/{name}", "/job/{name} and /job/{id}"),
        ("GET /docs", "by /docs"),
        ("POST /node/{hostname}/container/docker/pull", "docker.pull"),
    ],
)
def test_a_route_that_another_has_is_named(route: str, word: str, tmp_path: Path) -> None:
    names = [part[1:-1] for part in route.split("/") if part.startswith("{")]
    taken = f", *, {', '.join(f'{name}: str' for name in names)}" if names else ""
    (tmp_path / "unfit.py").write_text(
        f'{HEAD}\n@endpoint("unfit.get", "{route}", permission="node:read")\n'
        f"async def unfit(context: Context{taken}) -> Answer: ...\n"
    )
    towline = _command(tmp_path)
    with Broker(tmp_path) as broker:
        listen = f"127.0.0.1:{free_port()}"
        said = failed(towline("controller", "--listen", listen, *broker.journal_login))
    assert "unfit.get" in said
    assert word in said
