"""A world for scripted histories."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.unit.model.world import World, quick_disk


@pytest.fixture
def world() -> Iterator[Callable[..., World]]:
    """Make worlds, of other parts than the real ones if wanted."""
    with ExitStack() as stack:

        def make(**options: Any) -> World:
            directory = stack.enter_context(TemporaryDirectory(dir=quick_disk()))
            return stack.enter_context(World(Path(directory), **options))

        yield make
