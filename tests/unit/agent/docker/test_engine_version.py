"""By what version an engine is asked, what it pulls images for, and what it is asked with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.unit.agent.docker.conftest import serving
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.wire.platform import Platform

DIGEST = f"sha256:{'0' * 64}"


class Daemon:
    """What listens in an engine's place, and keeps what it was asked.

    Attributes:
        version: its answer to `/version`; None where what stands before it refuses that.
        lists: whether it lists images.
    """

    def __init__(self) -> None:
        self.version: dict[str, str] | None = version("1.41", "amd64")
        self.lists = True
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path_qs}")
        if request.path == "/version" and self.version is not None:
            return web.json_response(self.version)
        if request.path.endswith("/images/json") and self.lists:
            return web.json_response([])
        if "/images/" in request.path and self.lists:
            return web.json_response({"Id": DIGEST, "Size": 7, "Name": "status"})
        return web.Response(status=403, text="Forbidden")


def version(api: str, architecture: str) -> dict[str, str]:
    return {"ApiVersion": api, "Version": "20.10", "Os": "linux", "Arch": architecture}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon()
    async with serving(daemon.answer, tmp_path):
        yield daemon


async def test_an_engine_is_asked_by_the_version_that_it_has_by_now(
    daemon: Daemon, engine: Engine
) -> None:
    await engine.image("a:1")
    assert daemon.asked == ["GET /version", "GET /v1.41/images/a:1/json?manifests=1"]
    assert engine.platform == Platform("linux", "amd64")
    daemon.version = version("1.52", "arm64")
    assert await engine.ping() == "20.10"
    await engine.image("a:1")
    assert daemon.asked[-1] == "GET /v1.52/images/a:1/json?manifests=1"
    assert engine.platform == Platform("linux", "arm64")


async def test_one_whose_version_is_kept_back_is_asked_without_and_its_platform_not_known(
    daemon: Daemon, engine: Engine
) -> None:
    await engine.ping()
    daemon.version = None
    assert await engine.ping() == ""
    assert engine.platform is None
    await engine.image("a:1")
    assert daemon.asked[-1] == "GET /images/a:1/json?manifests=1"
    # What lets nothing through is no engine, and is asked anew each time.
    daemon.lists = False
    with pytest.raises(EngineRefused, match="Forbidden"):
        await engine.ping()
    daemon.version, daemon.lists = version("1.41", "amd64"), True
    await engine.image("a:1")
    assert daemon.asked[-2:] == ["GET /version", "GET /v1.41/images/a:1/json?manifests=1"]


@pytest.mark.parametrize(("platform", "asked"), [("linux/arm64/v8", "linux/arm64"), ("", "")])
async def test_a_pull_is_for_the_platform_that_is_asked_for(
    daemon: Daemon, engine: Engine, platform: str, asked: str
) -> None:
    wanted = Platform.parse(platform) if platform else None
    async for _ in engine.pull("registry.example/a", "1", platform=wanted):
        pass
    query = f"&platform={asked}" if asked else ""
    path = "/v1.41/images/create?fromImage=registry.example/a&tag=1"
    assert daemon.asked[-1] == f"POST {path}{query}"


async def test_what_a_name_is_taken_from_stays_with_all_that_it_is_made_of(
    daemon: Daemon, engine: Engine
) -> None:
    await engine.untag(f"registry.example/a@{DIGEST}")
    assert daemon.asked[-1] == f"DELETE /v1.41/images/registry.example/a@{DIGEST}?noprune=1"
