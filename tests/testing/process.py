"""Programs started for a test, that end with it and leave nothing running."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

from tests.testing.ports import listening
from tests.testing.preloaded import Forked, Preloaded, forkable

# A parent-death signal follows the *thread* that forked, not the process: started from a worker
# thread, a program would die with that worker. This one thread lives as long as the interpreter.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")

# Inherited by all descendants, also by those that leave the session or lose their parent.
_MARKER = "PARTS_PROCESS_ID"


class Failed(AssertionError):
    """A part did not do what it should have in time; the message carries the end of its log."""


def wait_until(
    predicate: Callable[[], bool], *, timeout: float = 30.0, what: str = "the condition"
) -> None:
    """Poll until the predicate holds, at first every 20 ms, and more seldom what takes long.

    Whoever waits longer learns of it by at most a twentieth later: many predicates ask a part over
    HTTP or read its whole log, and tests that wait side by side would take the cores from what
    they wait for.

    Raises Failed after `timeout` seconds, naming `what`. The timeout is there so that a fault
    ends the test; it is no measurement.
    """
    began = time.monotonic()
    while not predicate():
        waited = time.monotonic() - began
        if waited > timeout:
            raise Failed(f"{what} did not come about within {timeout:g} s")
        time.sleep(min(max(0.02, waited / 20), 0.25))


class Process:
    """One program and whatever it starts, with its output in files.

    It runs in a session of its own, gets SIGTERM when this interpreter dies, and `close` ends
    every process that descends from it.

    Parameters: `name` names the log files `<name>.out` and `<name>.err` in the directory `logs`,
    which are appended to when it is started again; `env` is added to this process's environment,
    a value of None takes a variable away.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        logs: Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.stdout_path = logs / f"{name}.out"
        self.stderr_path = logs / f"{name}.err"
        self._marker = f"{_MARKER}={uuid.uuid4()}"
        changes = {**(env or {}), _MARKER: self._marker.partition("=")[2]}
        merged = {**os.environ, **changes}
        self._env = {key: value for key, value in merged.items() if value is not None}
        self._cwd = cwd
        self._popen: subprocess.Popen[bytes] | Forked | None = None
        self._seen = 0

    def __enter__(self) -> Self:
        if not self.running:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the program; it must not be running."""
        if self.running:
            raise Failed(f"{self.name} is running already")
        self._seen = len(self.stdout)
        with self.stdout_path.open("ab") as out, self.stderr_path.open("ab") as err:
            self._popen = self._launch(out.fileno(), err.fileno())

    def _launch(self, stdout: int, stderr: int) -> subprocess.Popen[bytes] | Forked:
        setpriv = shutil.which("setpriv")
        prefix = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
        return _spawner.submit(
            subprocess.Popen,
            [*prefix, *self.command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=self._env,
            cwd=self._cwd,
            start_new_session=True,
        ).result()

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        if self._popen is None:
            raise Failed(f"{self.name} was not started")
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the program itself (not its children) is running."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit status, minus the signal's number if one ended it; None while it runs."""
        return self._popen.poll() if self._popen else None

    @property
    def stdout(self) -> str:
        """All it has written to stdout, over all its starts."""
        return _text(self.stdout_path)

    @property
    def stderr(self) -> str:
        """All it has written to stderr, over all its starts."""
        return _text(self.stderr_path)

    def wait(self, *, timeout: float = 30.0) -> int:
        """Wait for it to end by itself and return the exit status; raises Failed after timeout."""
        if self._popen is None:
            raise Failed(f"{self.name} was not started")
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{self.name} still runs after {timeout:g} s\n{self.tail()}") from error

    def wait_for(
        self, predicate: Callable[[], bool], *, timeout: float = 60.0, what: str = "readiness"
    ) -> None:
        """Wait until the predicate holds; raises Failed at once if the program ends before."""

        def holds_or_ended() -> bool:
            return predicate() or not self.running

        try:
            wait_until(holds_or_ended, timeout=timeout, what=what)
        except Failed as error:
            raise Failed(f"{self.name}: {error}\n{self.tail()}") from None
        if not predicate():
            raise Failed(f"{self.name} ended with {self.returncode} before {what}\n{self.tail()}")

    def wait_for_output(self, pattern: str, *, timeout: float = 60.0) -> re.Match[str]:
        """Wait until stdout, since the last start, matches the pattern, and return the match."""

        def find() -> re.Match[str] | None:
            return re.search(pattern, self.stdout[self._seen :], re.MULTILINE)

        self.wait_for(lambda: find() is not None, timeout=timeout, what=f"output of {pattern!r}")
        match = find()
        assert match is not None
        return match

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself, if it runs."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.send_signal(number)

    def stop(self, *, timeout: float = 15.0) -> int | None:
        """Ask it to end by SIGTERM, and after `timeout` seconds end it by SIGKILL.

        Returns the exit status: -9 if it had to be killed, None if it was never
        started.
        """
        self.signal(signal.SIGTERM)
        if self._popen is None:
            return None
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int | None:
        """End the program itself by SIGKILL; its children live on."""
        self.signal(signal.SIGKILL)
        return self._popen.wait() if self._popen else None

    def survivors(self) -> list[int]:
        """Return the process ids of all that descends from any of its starts and still runs."""
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and self._descends(entry)
        ]

    def _descends(self, entry: Path) -> bool:
        if isinstance(self._popen, Forked) and int(entry.name) == self._popen.pid:
            return self.running
        try:
            environment = (entry / "environ").read_bytes()  # empty for a zombie
        except OSError:
            return False  # gone meanwhile, or another user's: not ours
        return self._marker.encode() in environment.split(b"\0")

    def close(self) -> None:
        """Stop it, then end whatever is left of it."""
        self.stop()

        def ended() -> bool:
            survivors = self.survivors()
            for pid in survivors:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not survivors

        wait_until(ended, timeout=10, what=f"the end of all that {self.name} started")

    def tail(self, lines: int = 30) -> str:
        """Return the end of what it has written, for a failure's message."""
        parts = []
        for label, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            if text:
                parts += [f"--- {self.name} {label}", *text.splitlines()[-lines:]]
        return "\n".join(parts)


class TowlineProcess(Process):
    """`towline` with some arguments, as a process of its own.

    Takes no configuration from this process's environment: every TOWLINE_… variable is removed
    unless `env` sets it. A controller and an agent are forked from `preloaded` where it is set.
    """

    preloaded: ClassVar[Preloaded | None] = None

    def __init__(
        self,
        *arguments: str | Path,
        logs: Path,
        name: str = "towline",
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> None:
        inherited: dict[str, str | None] = {
            key: None for key in os.environ if key.startswith("TOWLINE_")
        }
        script = Path(sys.executable).with_name("towline")
        super().__init__(
            name, [script, *arguments], logs=logs, env={**inherited, **(env or {})}, cwd=cwd
        )

    def _launch(self, stdout: int, stderr: int) -> subprocess.Popen[bytes] | Forked:
        arguments = self.command[1:]
        if self.preloaded is None or not forkable(arguments, self._env):
            return super()._launch(stdout, stderr)
        return self.preloaded.start(
            arguments, stdout=stdout, stderr=stderr, env=self._env, cwd=self._cwd
        )

    def run(self, *, timeout: float = 60.0) -> int:
        """Start it, wait for its end, and return the exit status."""
        self.start()
        return self.wait(timeout=timeout)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def start_listening(servers: Sequence[Process], ports: Sequence[int]) -> None:
    """Start those servers that don't run, and wait until each accepts connections on its port."""
    for server, port in zip(servers, ports, strict=True):
        if not server.running:
            server.start()
            server.wait_for(partial(listening, port), what=f"port {port} open")
