"""What is shown of a job that goes on where there is no terminal."""

import io
import os
import sys
from unittest import mock

import msgspec
import pytest

from tests.unit.cli.progress import a_job, a_node, pulling
from towline.cli.display import Lines, display
from towline.cli.screen import Screen
from towline.client import Total


class Clock:
    """Stands for the time that goes by."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_a_terminal_there_are_a_few_lines_of_what_has_changed(clock: Clock) -> None:
    said: list[str] = []
    lines = Lines(said.append, every=5.0, clock=clock)
    lines.show(a_job(pulling(1), pulling(2)))
    assert said == []  # what is soon over is not worth a line
    clock.now = 5.0
    lines.show(a_job(pulling(1), pulling(2)))
    assert [line.split(":")[0] for line in said] == ["job j", "  web-1", "  web-2"]
    said.clear()
    clock.now = 7.0
    lines.show(a_job(pulling(1, 30), pulling(2)))
    assert said == []
    clock.now = 10.0
    lines.show(a_job(pulling(1, 30), pulling(2)))
    assert [line.split(":")[0] for line in said] == ["  web-1"]


def test_of_many_nodes_the_lines_name_only_the_slowest_and_the_failed(clock: Clock) -> None:
    said: list[str] = []
    lines = Lines(said.append, every=5.0, clock=clock)
    clock.now = 5.0
    failed = a_node(9, "failed", error="denied")
    total = Total({"running": 500}, 0.5, slowest=[pulling(7)], failed=[failed])
    lines.show(a_job(*(pulling(n) for n in range(500)), total=total))
    assert [line.split(":")[0] for line in said] == ["job j", "  web-7", "  web-9"]


def test_lines_tell_machines_of_the_same_name_apart(clock: Clock) -> None:
    said: list[str] = []
    lines = Lines(said.append, every=5.0, clock=clock)
    clock.now = 5.0
    alike = [msgspec.structs.replace(pulling(number), hostname="web") for number in (1, 2)]
    lines.show(a_job(*alike))
    assert [line.split(":")[0] for line in said[1:]] == ["  web (m1)", "  web (m2)"]


class Terminal(io.StringIO):
    """Stands for standard error where that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "expected"),
    [
        (Terminal(), {"TERM": "xterm"}, Screen),
        (Terminal(), {"TERM": "screen-256color"}, Screen),
        (Terminal(), {"TERM": "dumb"}, Lines),
        (Terminal(), {"TERM": "unknown"}, Lines),
        (Terminal(), {"TERM": ""}, Lines),
        (Terminal(), {}, Lines),
        (Terminal(), {"TERM": "xterm", "TTY_COMPATIBLE": "0"}, Lines),
        (io.StringIO(), {"TERM": "xterm"}, Lines),
        (io.StringIO(), {"TERM": "xterm", "FORCE_COLOR": "1"}, Lines),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else type(value).__name__,
)
def test_what_is_no_terminal_that_can_be_drawn_on_gets_lines(
    monkeypatch: pytest.MonkeyPatch,
    stream: io.StringIO,
    environment: dict[str, str],
    expected: type[Lines] | type[Screen],
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with mock.patch.dict(os.environ, environment, clear=True):
        assert type(display()) is expected
