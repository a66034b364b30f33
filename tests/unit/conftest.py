"""Units need nothing but Python: a test that would start a part of the system is refused."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import PurePath

import pytest

from tests.unit.stub import StubController

PARTS = {"nats-server", "dockerd", "containerd", "docker-registry", "towline"}
"""Programs that a test of one unit has no business with: tests/parts is the place for those."""

_testing_a_unit = False


def _refuse_parts(event: str, arguments: tuple[object, ...]) -> None:
    if not _testing_a_unit or event != "subprocess.Popen":
        return
    _, command, *_ = arguments
    words = [command] if isinstance(command, str | bytes) else command
    assert isinstance(words, Sequence)
    named = {PurePath(os.fsdecode(word)).name for word in words}
    if named & PARTS:
        raise AssertionError(f"a test of a unit starts {', '.join(named & PARTS)}")


# For good, since an audit hook can't be taken away (PEP 578): it looks only while a unit is tested.
sys.addaudithook(_refuse_parts)


@pytest.fixture(autouse=True)
def _no_parts() -> Iterator[None]:
    global _testing_a_unit
    _testing_a_unit = True
    yield
    _testing_a_unit = False


@pytest.fixture
def controller() -> Iterator[StubController]:
    """What clients and commands take for a controller."""
    with StubController() as stub:
        yield stub
