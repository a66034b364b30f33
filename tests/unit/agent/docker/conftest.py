"""What listens in an engine's place."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from towline.agent.docker.engine import Engine


@asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], directory: Path
) -> AsyncIterator[None]:
    """Answer whatever is asked at the socket of `engine` until the block ends."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, str(directory / "d.sock")).start()
    yield
    await runner.cleanup()


@pytest.fixture
async def engine(daemon: Any, tmp_path: Path) -> AsyncIterator[Engine]:
    """The agent's side of an engine in whose place a test's `daemon` listens."""
    engine = Engine(f"unix://{tmp_path / 'd.sock'}")
    yield engine
    await engine.close()
