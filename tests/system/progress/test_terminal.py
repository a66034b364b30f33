"""How far a job is, as the command line shows it on a terminal."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.system.progress.pictures import NODES
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until
from tests.testing.terminal import readable
from towline.wire.progress import DOWNLOADING, TaskProgress


class Terminal:
    """`towline` with a terminal of its own at standard error, and output into a file.

    Parameters: `arguments` are those of the command, `env` is what it finds in its environment.
    """

    def __init__(self, output: Path, env: Mapping[str, str], *arguments: str) -> None:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 100))
        self._terminal = ours
        self.output = output
        script = Path(sys.executable).with_name("towline")
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [script, *arguments],
                env={**os.environ, **env, "TERM": "xterm"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=theirs,
                start_new_session=True,
            )
        os.close(theirs)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Wait until something is shown."""

        def there() -> bool:
            while readable(self._terminal, 0):
                try:
                    self.shown += os.read(self._terminal, 65536).decode()
                except OSError:  # Linux: what was at the other end has ended
                    break
            return text in self.shown

        wait_until(there, what=f"{text!r} on the terminal")

    def interrupt(self) -> None:
        """Do what ^C does."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait for its end and return the exit status."""
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            os.close(self._terminal)


@pytest.fixture
def env(pair: Cluster, gate: Gate) -> dict[str, str]:
    """What the command line finds in its environment."""
    return {
        **gate.env,
        "TOWLINE_URL": pair.url,
        "TOWLINE_TOKEN": pair.token("admin"),
        "TOWLINE_CONFIG": "/dev/null",
    }


def test_an_interrupted_command_line_says_how_to_go_on(
    pair: Cluster, gate: Gate, held: str, env: dict[str, str], tmp_path: Path
) -> None:
    terminal = Terminal(tmp_path / "out", env, "gate", "pass", held, "--on", "_all")
    wait_until(lambda: all(gate.begun(held, node) for node in NODES), what="both to be begun")
    gate.report(held, "one", TaskProgress(DOWNLOADING, fetched=2**20, size=2**22))
    terminal.wait_for("1.00 MiB of 4.00 MiB")
    terminal.interrupt()
    terminal.wait_for("stops it")
    assert terminal.end() == 130
    assert terminal.output.read_text() == ""
    found = re.search(r"towline job (\S+) --follow", terminal.shown)
    assert found is not None
    assert f"towline cancel {found[1]} stops it" in terminal.shown
    assert pair.job(found[1], wait=0)["status"] == "processing"

    # As it says.
    again = Terminal(tmp_path / "again", env, "job", found[1], "--follow")
    again.wait_for("1.00 MiB of 4.00 MiB")
    gate.open(held)
    assert again.end() == 0
    kinds = [line.split()[1] for line in again.output.read_text().splitlines()[:-1]]
    assert (kinds[0], sorted(kinds[-2:])) == ("submitted", ["completed", "completed"])


def test_the_exit_status_is_that_of_the_table_where_progress_is_drawn(
    pair: Cluster, gate: Gate, held: str, env: dict[str, str], tmp_path: Path
) -> None:
    command = ("gate", "pass", held, "--on", "one")
    waits = Terminal(tmp_path / "waits", env, *command, "--wait", "2s")
    cancelled = Terminal(tmp_path / "cancelled", env, *command)
    fails = Terminal(tmp_path / "fails", env, *command)
    wait_until(lambda: gate.begun(held, "one") == 3, what="all to be begun")
    assert waits.end() == 4
    gate.report(held, "one", TaskProgress(DOWNLOADING, fetched=2**20, size=2**22))
    for each in (cancelled, fails):
        each.wait_for("1.00 MiB of 4.00 MiB")
    # The terminal has the id from the first moment on, above what is drawn.
    found = re.search(r"job ([0-9a-f-]{36})", cancelled.shown)
    assert found is not None
    pair.admin.post(f"/job/{found[1]}/cancel").raise_for_status()
    assert cancelled.end() == 3
    gate.damage(held)
    gate.open(held)
    assert fails.end() == 1
    gate.mend(held)


def test_what_is_shown_does_not_get_among_the_results(
    gate: Gate, held: str, env: dict[str, str], tmp_path: Path
) -> None:
    table, plain = (
        Terminal(tmp_path / form, env, "gate", "pass", held, "--on", "one", "--output", form)
        for form in ("table", "json")
    )
    wait_until(lambda: gate.begun(held, "one") == 2, what="both to be begun")
    gate.report(held, "one", TaskProgress(DOWNLOADING, fetched=2**20, size=2**22))
    table.wait_for("1.00 MiB of 4.00 MiB")
    gate.open(held)
    assert (table.end(), plain.end()) == (0, 0)
    lines = table.output.read_text().splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["node", "one"], ["status", "ok,"]]
    assert json.loads(plain.output.read_text())["results"][0]["status"] == "ok"
    assert plain.shown == ""
