"""What is shown of a job that goes on where there is no terminal."""

import pytest

from tests.unit.cli.progress import a_job, a_node, pulling
from towline.cli import display
from towline.cli.display import Lines
from towline.client import Total


class Clock:
    """Stands for the module `time`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    return clock


def test_without_a_terminal_there_are_a_few_lines_of_what_has_changed(clock: Clock) -> None:
    said: list[str] = []
    lines = Lines(said.append)
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
    lines = Lines(said.append)
    clock.now = 5.0
    failed = a_node(9, "failed", error="denied")
    total = Total({"running": 500}, 0.5, slowest=[pulling(7)], failed=[failed])
    lines.show(a_job(*(pulling(n) for n in range(500)), total=total))
    assert [line.split(":")[0] for line in said] == ["job j", "  web-7", "  web-9"]
