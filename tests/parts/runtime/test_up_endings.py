"""`towline up` ends without a trace, however it ends."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.parts.runtime.conftest import RUNNING
from tests.testing.cluster import NO_ENGINE
from tests.testing.process import Process, wait_until
from tests.testing.up import Up, naming

TERMINAL = """
import os, pty, sys, tty
child, keyboard = pty.fork()
if child == 0:
    tty.setraw(1)  # or each line would end in CR and LF
    os.execvp(sys.argv[1], sys.argv[1:])
while screen := os.read(keyboard, 1024):
    os.write(1, screen)
"""
"""A terminal, and a program that is the leader of the session on it."""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT], ids=str
)
def test_a_signal_ends_all_parts_with_status_0(up: Up, number: signal.Signals) -> None:
    assert up.parts().keys() == {"broker", "controller", "agent"}
    up.signal(number)
    assert up.wait() == 0
    assert not up.survivors()
    assert not naming(up.state)
    assert not (up.state / "controller.url").exists()
    assert "Traceback" not in up.stderr


@pytest.mark.parametrize(
    ("parts", "number"), [(1, signal.SIGTERM), (2, signal.SIGHUP), (3, signal.SIGTERM)], ids=str
)
def test_a_signal_while_it_starts_leaves_nothing(
    parts: int, number: signal.Signals, tmp_path: Path
) -> None:
    with Up(tmp_path, "--engine", NO_ENGINE) as up:
        wait_until(lambda: len(up.parts()) >= parts)
        up.signal(number)
        assert up.wait() == 0
        assert not up.survivors()
    assert "Traceback" not in up.stderr


def test_nothing_is_left_when_its_terminal_is_closed(tmp_path: Path) -> None:
    up = Up(tmp_path, "--engine", NO_ENGINE)
    up.command = [sys.executable, "-c", TERMINAL, *up.command]
    with up:
        up.wait_for_output(RUNNING)
        assert up.parts().keys() == {"broker", "controller", "agent"}
        up.kill()
        wait_until(lambda: not up.survivors(), what="the end of all parts")
    assert not (up.state / "controller.url").exists()


def test_where_hang_ups_are_ignored_it_outlasts_its_terminal(tmp_path: Path) -> None:
    """As nohup(1) has it, but that all it writes goes to a terminal that is no more."""
    up = Up(tmp_path, "--engine", NO_ENGINE)
    ignoring = ["/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh"]
    up.command = [sys.executable, "-c", TERMINAL, *ignoring, *up.command]
    with up:
        up.wait_for_output(RUNNING)
        before = up.parts()
        up.kill()
        os.kill(before["controller"], signal.SIGKILL)
        wait_until(lambda: up.parts().get("controller") not in (None, before["controller"]))
        assert {**up.parts(), "controller": 0} == {**before, "controller": 0}


def test_where_nothing_that_it_writes_can_be_written_it_works_and_ends_as_ever(
    tmp_path: Path,
) -> None:
    up = Up(tmp_path, "--engine", NO_ENGINE)
    up.command = ["/bin/sh", "-c", 'exec "$@" > /dev/full 2>&1', "sh", *up.command]
    with up:
        wait_until(lambda: len(up.parts()) == 3, what="all parts")
        assert up.stop() == 0
        assert not up.survivors()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT], ids=str)
def test_nothing_is_left_when_it_cannot_end_its_parts_itself(
    up: Up, number: signal.Signals
) -> None:
    assert up.parts().keys() == {"broker", "controller", "agent"}
    up.signal(number)
    wait_until(lambda: not up.survivors(), what="the end of all parts")


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_nothing_is_left_when_it_is_killed_while_it_starts(parts: int, tmp_path: Path) -> None:
    with Up(tmp_path, "--engine", NO_ENGINE) as up:
        wait_until(lambda: len(up.parts()) >= parts)
        up.kill()
        wait_until(lambda: not up.survivors(), what="the end of all parts")


@pytest.mark.parametrize("other", ["{}/state", "link/state"])
def test_a_broker_that_is_left_all_the_same_is_ended_by_the_next_one(
    other: str, tmp_path: Path
) -> None:
    """However the directory is written. A lifeline can be cut, and old versions had none."""
    (tmp_path / "link").symlink_to(tmp_path)
    with Up(tmp_path, "--engine", NO_ENGINE, state="state", cwd=tmp_path) as first:
        first.wait_for_output(RUNNING)
        command = Path(f"/proc/{first.parts()['broker']}/cmdline").read_text().split("\0")[:-1]
        assert first.stop() == 0
    with Process("orphan", command, logs=tmp_path) as orphan:
        orphan.wait_for(lambda: "Server is ready" in orphan.stderr, what="an orphaned broker")
        with Up(
            *(tmp_path, "--engine", NO_ENGINE), state=other.format(tmp_path), cwd=tmp_path
        ) as second:
            second.wait_for_output(RUNNING)
            assert not orphan.running
            assert second.parts().keys() == {"broker", "controller", "agent"}
