"""`towline` as people run it: one command at a time, and what it prints."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testing.process import Failed
from towline.cli.outcome import REFUSED, UNREACHABLE

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
        done = subprocess.run(
            [*self._prefix, TOWLINE, *arguments],
            input=stdin,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        finished = Finished(done.returncode, done.stdout, done.stderr)
        if "Traceback" in done.stdout + done.stderr or done.returncode not in STATUSES:
            raise Failed(f"towline {arguments} broke off: {finished}")
        return finished


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
