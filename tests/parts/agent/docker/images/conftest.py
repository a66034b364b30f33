"""The agent's side of an engine, and repositories that no other test has."""

import uuid
from collections.abc import AsyncIterator

import pytest

from tests.testing.engine_api import EngineApi
from tests.testing.registry import Registry
from towline.agent.docker.engine import Engine
from towline.agent.docker.images.node_images import NodeImages


@pytest.fixture
async def images(daemon: EngineApi) -> AsyncIterator[NodeImages]:
    """What operations are given."""
    engine = Engine(daemon.url)
    yield NodeImages(engine)
    await engine.close()


@pytest.fixture
def repository() -> str:
    """The name of a repository of the test's own."""
    return f"images/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def other(registry: Registry) -> str:
    """Another one, with its registry."""
    return registry.reference(f"images/{uuid.uuid4().hex[:12]}")
