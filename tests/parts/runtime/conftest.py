"""`towline up` without an engine: what is tested here needs none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.cluster import NO_ENGINE
from tests.testing.up import Up, naming
from towline.trust.keys import Trust, create

RUNNING = "^waiting: no reachable node has a Docker Engine"
"""What `towline up` shows once all its parts run and know each other, where there is no engine."""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """`towline up` of which all parts run. At the end nothing of it may be left."""
    with Up(tmp_path, "--engine", NO_ENGINE) as up:
        up.wait_for_output(RUNNING)
        yield up
    assert not naming(tmp_path)


@pytest.fixture(scope="session")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """A trust directory."""
    return create(tmp_path_factory.mktemp("fleet"))
