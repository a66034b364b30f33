"""Whatever an engine answers, of whatever shape: an error of the engine in words, and no other."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from tests.unit.agent.docker.conftest import serving
from towline.agent.docker.answers import Happening, Image, ListedImage
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineUnreachable
from towline.errors import TaskFailed

JSON, TEXT, HTML = "application/json", "text/plain; charset=utf-8", "text/html"
VERSION = b'{"ApiVersion": "1.41", "Version": "20.10"}'
NAMES_ARE_NUMBERS = {"Id": "d", "RepoTags": [7]}
NESTED = b"[" * 100_000


class Daemon:
    """What listens in an engine's place, and answers everything with the same bytes.

    Parameters: with `versioned` it answers as an engine does when it is asked for its version, and
    takes `thinking` seconds for that, and for what a tag is.
    """

    def __init__(self) -> None:
        self.status, self.body = 200, b""
        self.content_type: str | None = JSON
        self.versioned = True
        self.thinking = 0.0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.versioned and request.path.endswith("/version"):
            await asyncio.sleep(self.thinking)
            return web.Response(body=VERSION, content_type=JSON)
        if "/distribution/" in request.path:
            await asyncio.sleep(self.thinking)
        response = web.StreamResponse(status=self.status)
        if self.content_type is not None:
            response.headers["Content-Type"] = self.content_type
        await response.prepare(request)
        await response.write(self.body)
        await response.write_eof()
        return response


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon()
    async with serving(daemon.answer, tmp_path):
        yield daemon


async def _pull(engine: Engine) -> None:
    async for _ in engine.pull("localhost:5000/a", "1.0"):
        pass


async def _listen(engine: Engine) -> list[Happening]:
    async with engine.happenings() as happenings:
        return [each async for each in happenings]


CALLS: dict[str, Callable[[Engine], Awaitable[Any]]] = {
    "version": lambda engine: engine.ping(),
    "info": lambda engine: engine.info(),
    "image": lambda engine: engine.image("localhost:5000/a:1.0"),
    "digest": lambda engine: engine.digest("localhost:5000/a:1.0"),
    "containers": lambda engine: engine.containers(everything=True, limit=20, state=""),
    "images": lambda engine: engine.images(),
    "image users": lambda engine: engine.image_users(),
    "events": _listen,
    "pull": _pull,
}
ANSWERS = [b"{}", b"[]", b"null", b"7", b'"words"', b"[7]", b"", b"words", b"<html>", b"{", b"\xff"]
ANSWERS += [NESTED, b'{"Version": 7, "ApiVersion": []}', b'{"Id": 7, "Size": "large"}']
ANSWERS += [b'{"Descriptor": {"digest": 7}}', b'{"Descriptor": {"digest": "latest"}}']
ANSWERS += [b'[{"Id": "a"}]', b'[{"Id": 7, "Names": 7, "Image": 7, "State": 7, "Created": "x"}]']
ANSWERS += [b'[{"Id": "a", "Image": "b", "State": "c", "Created": 1e30}]']
ANSWERS += [b'{"DriverStatus": 7, "DockerRootDir": 7}', b'{"Containerd": [], "DriverStatus": [7]}']
ANSWERS += [b'{"error": 7}', b'{"errorDetail": []}', b'{"errorDetail": {"message": 7}}']


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("content_type", [JSON, TEXT, HTML, "nonsense", None])
async def test_an_answer_of_another_shape_is_an_error_of_the_engine(
    daemon: Daemon, engine: Engine, call: str, content_type: str | None
) -> None:
    daemon.versioned, daemon.content_type = call != "version", content_type
    for status in (200, 404, 500):
        for body in ANSWERS:
            daemon.status, daemon.body = status, body
            with contextlib.suppress(TaskFailed):
                await CALLS[call](engine)


@pytest.mark.parametrize(
    "call", ["version", "image", "digest", "containers", "images", "image users", "events"]
)
async def test_what_an_engine_answered_is_named_where_it_can_not_be_read(
    daemon: Daemon, engine: Engine, call: str
) -> None:
    daemon.versioned, daemon.body = call != "version", b"7"
    with pytest.raises(TaskFailed) as failed:
        await CALLS[call](engine)
    assert engine.url in failed.value.error
    assert "can't be read" in failed.value.error


@pytest.mark.parametrize("body", [b"{}", b"[]", b'"no"', b'{"message": 7}', b"no \xff words"])
async def test_a_refusal_without_words_is_a_refusal_all_the_same(
    daemon: Daemon, engine: Engine, body: bytes
) -> None:
    daemon.status, daemon.body = 404, body
    assert await engine.image("localhost:5000/a:1.0") is None
    daemon.status = 500
    with pytest.raises(TaskFailed, match="HTTP status 500"):
        await engine.image("localhost:5000/a:1.0")


async def test_an_engine_with_a_version_that_is_none_is_asked_for_it_again(
    daemon: Daemon, engine: Engine
) -> None:
    daemon.versioned, daemon.body = False, b"{}"
    for _ in range(2):
        with pytest.raises(TaskFailed, match="can't be read"):
            await engine.image("localhost:5000/a:1.0")
    daemon.versioned, daemon.body = True, b'{"Id": "sha256:0", "Size": 7}'
    assert await engine.ping() == "20.10"
    assert await engine.image("localhost:5000/a:1.0") is not None


async def test_what_can_not_be_read_of_a_list_hides_nothing_else_of_it(
    daemon: Daemon, engine: Engine
) -> None:
    odd = [
        7,
        {},
        {"Id": 7},
        {"Id": "c", "Manifests": [{"Available": "perhaps"}]},
        NAMES_ARE_NUMBERS,
    ]
    daemon.body = json.dumps([{"Id": "a"}, *odd, {"Id": "b", "Size": 7, "Labels": {}}]).encode()
    assert await engine.images() == [ListedImage("a"), ListedImage("b", size=7)]
    odd = [7, {}, {"ImageID": 7}]
    daemon.body = json.dumps([{"ImageID": "a"}, *odd, {"ImageID": "b"}, {"ImageID": "a"}]).encode()
    assert await engine.image_users() == {"a": 2, "b": 1}
    daemon.body = b"null"
    assert (await engine.images(), await engine.image_users()) == ([], {})


async def test_events_are_read_until_one_can_not_be(daemon: Daemon, engine: Engine) -> None:
    pulled, empty = {"Type": "image", "Action": "pull", "Actor": {"ID": "a"}}, b"\r\n{}\n\n"
    daemon.body = json.dumps(pulled).encode() + empty
    assert await _listen(engine) == [Happening("image", "pull"), Happening()]
    for garbage in (b"garbage\n", b"x" * 2**20):
        daemon.body = json.dumps(pulled).encode() + b"\n" + garbage
        with pytest.raises(TaskFailed, match=r"events of the Docker Engine .* can't be read"):
            await _listen(engine)


def test_manifests_are_told_apart_by_their_digests() -> None:
    body = b'{"Id": "a", "Size": 1, "Manifests": [{"ID": "sha256:0", "Available": true}]}'
    assert msgspec.json.decode(body, type=Image).content[2] == {"sha256:0"}


async def test_words_without_bounds_in_a_stream_are_an_error_of_the_engine(
    daemon: Daemon, engine: Engine
) -> None:
    daemon.body = json.dumps({"status": "x" * 2**20}).encode() + b"\r\n"
    with pytest.raises(TaskFailed, match="progress stream"):
        await _pull(engine)


async def test_an_engine_that_takes_its_time_for_its_version_is_waited_for_by_what_is_asked_of_it(
    daemon: Daemon, tmp_path: Path
) -> None:
    daemon.thinking, daemon.body = 0.1, b'{"Id": "sha256:0", "Size": 7}'
    engine = Engine(f"unix://{tmp_path / 'd.sock'}", ping_within=0.01)
    with pytest.raises(EngineUnreachable, match="did not answer within"):
        await engine.ping()
    assert await engine.image("localhost:5000/a:1.0") is not None
    await engine.close()


async def test_an_engine_that_takes_its_time_to_resolve_a_tag_is_not_waited_for(
    daemon: Daemon, tmp_path: Path
) -> None:
    engine = Engine(f"unix://{tmp_path / 'd.sock'}", resolve_within=0.05)
    daemon.body = json.dumps({"Descriptor": {"digest": f"sha256:{'0' * 64}"}}).encode()
    await engine.digest("localhost:5000/a:1.0")
    daemon.thinking = 1.0
    with pytest.raises(EngineUnreachable, match="did not answer within"):
        await engine.digest("localhost:5000/a:1.0")
    await engine.close()
