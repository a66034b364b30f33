"""A world for scripted histories."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.unit.model.world import World

MEMORY = Path("/dev/shm")
"""Ledgers sync each change, as they must: on a disk that takes most of the time."""


@pytest.fixture
def world() -> Iterator[Callable[..., World]]:
    """Make worlds, of other parts than the real ones if wanted."""
    with ExitStack() as stack:

        def make(**options: Any) -> World:
            memory = MEMORY if MEMORY.is_dir() else None
            directory = stack.enter_context(TemporaryDirectory(dir=memory))
            return stack.enter_context(World(Path(directory), **options))

        yield make
