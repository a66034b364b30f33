"""`towline up` at a terminal: a few lines for a person, its logs in a file, and its end."""

import os
import signal
import stat
from pathlib import Path

from tests.parts.runtime.conftest import RUNNING
from tests.testing.cluster import NO_ENGINE
from tests.testing.command import TOWLINE, CommandLine
from tests.testing.ports import free_port
from tests.testing.process import wait_until
from tests.testing.terminal import Terminal
from tests.testing.up import command_of, naming

WITHOUT_ENGINE = RUNNING.removeprefix("^")


def up_at(directory: Path, *arguments: str) -> Terminal:
    """Return `towline up` at a terminal, with its state in `directory / "state"`."""
    listen = f"127.0.0.1:{free_port()}"
    command = ("up", "--state", directory / "state", "--listen", listen, "--engine", NO_ENGINE)
    return Terminal([TOWLINE, *command, *arguments], CommandLine(directory / "state").env)


def part(directory: Path, name: str) -> int:
    """Return the process id of a part."""
    for pid in naming(directory):
        arguments = command_of(pid)
        if arguments[1:4] == ["-m", "towline", name] or arguments[0].endswith(name):
            return pid
    raise AssertionError(f"no {name} runs")


def test_a_person_is_told_what_needs_one_and_the_rest_is_in_a_file(tmp_path: Path) -> None:
    with up_at(tmp_path) as terminal:
        terminal.wait_for("answers at  http://127.0.0.1:")
        log = tmp_path / "state" / "up.log"
        terminal.wait_for(str(log))
        terminal.wait_for(WITHOUT_ENGINE)
        # What passes by itself while it starts is no trouble.
        assert "catching up" not in terminal.screen
        os.kill(part(tmp_path, "nats-server"), signal.SIGKILL)
        terminal.wait_for("the broker has ended (signal 9), and is started again")
        os.kill(part(tmp_path, "agent"), signal.SIGKILL)
        terminal.wait_for("the agent has ended (signal 9), and is started again")
        assert '{"' not in terminal.screen
        logged = log.read_text()
        for name in ("up", "controller", "agent"):
            assert f'"part":"{name}"' in logged
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        terminal.close()
        assert terminal.wait() == 0
        wait_until(lambda: not naming(tmp_path), what="the end of all parts")


def test_interrupted_it_says_when_all_has_ended(tmp_path: Path) -> None:
    with up_at(tmp_path, "--verbose") as terminal:
        terminal.wait_for('"part":"controller"')
        terminal.wait_for('"part":"agent"')
        terminal.type("\x03")
        assert terminal.wait() == 0
    assert not naming(tmp_path)
    assert not (tmp_path / "state" / "up.log").exists()


def test_a_part_that_refuses_to_start_is_told_of_in_its_own_words(tmp_path: Path) -> None:
    with up_at(tmp_path) as terminal:
        terminal.wait_for("answers at")
        wait_until(lambda: (tmp_path / "state" / "token.key").exists())
        terminal.wait_for(WITHOUT_ENGINE)
        (tmp_path / "state" / "token.key").chmod(0o644)
        os.kill(part(tmp_path, "controller"), signal.SIGKILL)
        terminal.wait_for("the controller has ended (status 2), and is started again: towline: ")
        terminal.wait_for("0644")
        terminal.type("\x03")
        terminal.wait_for("ended")
        assert terminal.wait() == 0
