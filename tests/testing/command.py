"""`towline` as people run it: one command at a time, and what it prints."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from tests.testing.preloaded import Preloaded, same_start
from tests.testing.process import Failed, TowlineProcess
from towline.cli.outcome import REFUSED, UNREACHABLE

WITHIN = 60.0
"""Seconds after which a command has broken off."""
STATUSES = range(UNREACHABLE + 1)
"""The exit statuses of commands that nobody interrupts."""
TOWLINE = Path(sys.executable).with_name("towline")


@dataclass(frozen=True)
class Finished:
    """A command that has ended: its exit status and what it wrote."""

    status: int
    stdout: str
    stderr: str


class CommandLine:
    """Runs `towline` with no settings but those given here; fails if it ever breaks off.

    Parameters: `state` is what it takes for the machine's state directory; `env` is added to the
    environment of each command; `prefix` is a program with arguments that runs it.
    """

    def __init__(
        self, state: Path, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
    ) -> None:
        self._prefix = prefix
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TOWLINE_")}
        # In place of /etc/towline/towline.toml, which this machine may have.
        here = {"STATE_DIRECTORY": str(state), "TOWLINE_CONFIG": "/dev/null"}
        here["XDG_CONFIG_HOME"] = "/nowhere"
        self.env = {**clean, **here, **(env or {})}

    def __call__(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str = ""
    ) -> Finished:
        """Run a command to its end."""
        environment = {**self.env, **(env or {})}
        preloaded = TowlineProcess.preloaded
        if self._prefix or preloaded is None or not same_start(environment):
            finished = self._run(arguments, environment, stdin)
        else:
            finished = _fork(preloaded, arguments, environment, stdin)
        if "Traceback" in finished.stdout + finished.stderr or finished.status not in STATUSES:
            raise Failed(f"towline {arguments} broke off: {finished}")
        return finished

    def _run(
        self, arguments: Sequence[str | Path], environment: Mapping[str, str], stdin: str
    ) -> Finished:
        done = subprocess.run(
            [*self._prefix, TOWLINE, *arguments],
            input=stdin,
            env=environment,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)


def _fork(
    preloaded: Preloaded,
    arguments: Sequence[str | Path],
    environment: Mapping[str, str],
    stdin: str,
) -> Finished:
    with TemporaryFile("w+") as given, TemporaryFile("w+") as out, TemporaryFile("w+") as said:
        given.write(stdin)
        given.seek(0)
        forked = preloaded.start(
            [str(each) for each in arguments],
            **{"stdin": given.fileno(), "stdout": out.fileno(), "stderr": said.fileno()},
            env=environment,
            cwd=None,
        )
        try:
            status = forked.wait(WITHIN)
        except subprocess.TimeoutExpired:
            forked.send_signal(signal.SIGKILL)
            raise
        out.seek(0)
        said.seek(0)
        return Finished(status, out.read(), said.read())


def without_ids(stderr: str) -> str:
    """Return what was said but for the ids of jobs, which what takes over a second says."""
    return re.sub(r"^job [0-9a-f-]{36}\n", "", stderr, flags=re.MULTILINE)


def rows(table: str) -> list[dict[str, str]]:
    """Read a table that has been printed; its columns are two blanks apart."""
    head, *lines = table.splitlines()
    starts = [match.start() for match in re.finditer(r"(?:^|(?<=  ))\S", head)]
    ends = [*starts[1:], None]

    def cells(line: str) -> list[str]:
        return [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]

    return [dict(zip(cells(head), cells(line), strict=True)) for line in lines]


def values(block: str) -> dict[str, str]:
    """Read names and values that have been printed, a line each, up to the first empty line."""
    lines = block.split("\n\n")[0].splitlines()
    found = {}
    for line in lines:
        name, value = re.split(r"  +", line, maxsplit=1)
        found[name] = value
    return found


def failed(done: Finished, status: int = REFUSED) -> str:
    """Check that nothing but an error was written, and return it."""
    assert (done.status, done.stdout) == (status, "")
    assert done.stderr
    return done.stderr
