"""Controllers, agents and commands forked from a process that has imported what they need.

To import that takes each of them most of a second of processor time, and the tests start thousands.
What is forked here runs the same `main` with the same arguments; what depends on how Python itself
starts (variables of the loader, of Python, of the locale) is not forked.
"""

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

_COMMANDS = ("controller", "agent")
_IMPORTED = (
    "towline.agent.agent",
    "towline.agent.docker.pull.docker_config",
    "towline.agent.docker.provider",
    "towline.agent.host.facts",
    "towline.agent.host.provider",
    "towline.cli.agent",
    "towline.cli.serve",
    "towline.client",
    "towline.controller.controller",
    "towline.controller.http.limits",
    "towline.operations",
    "towline.runtime.logs",
    "towline.trust.keys",
    "uvloop",
)
_AT_START = ("LD_", "PYTHON", "LC_", "LANG", "TZ", "SSL_", "MALLOC_", "GLIBC_")
"""How the names of variables begin that count only when a program starts."""
_PATH = "PYTHONPATH"
"""Of those the one that can be followed later."""
_LARGEST = 1 << 20
_SET_PARENT_DEATH_SIGNAL = 1


def forkable(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Return whether a start differs in nothing from one by a fork."""
    return bool(arguments) and arguments[0] in _COMMANDS and same_start(environment)


def same_start(environment: Mapping[str, str]) -> bool:
    """Return whether Python itself starts in an environment as it did here."""
    return not _at_start(environment)


def _at_start(environment: Mapping[str, str]) -> bool:
    def those(variables: Mapping[str, str]) -> dict[str, str]:
        return {
            key: value
            for key, value in variables.items()
            if key.startswith(_AT_START) and key != _PATH
        }

    return those(environment) != those(os.environ)


class Forked:
    """A process that was forked, with what the tests use of `subprocess.Popen`."""

    def __init__(self, parent: "Preloaded", pid: int) -> None:
        self._parent = parent
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, minus the signal's number if one ended it; None while it runs."""
        if self.returncode is None:
            self.returncode = self._parent.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            time.sleep(0.005)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Preloaded:
    """The process that forks, a child of this one that ends with it; started when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def _run(self) -> subprocess.Popen[bytes]:
        with self._theirs:
            return subprocess.Popen(
                [sys.executable, "-m", __name__, str(self._theirs.fileno())],
                pass_fds=[self._theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=Path(__file__).parents[2],
            )

    def start(
        self,
        arguments: Sequence[str],
        *,
        stdout: int,
        stderr: int,
        env: Mapping[str, str],
        cwd: Path | None,
        stdin: int | None = None,
    ) -> Forked:
        """Start `towline` with those arguments, in a session of its own."""
        wanted = {"run": list(arguments), "env": dict(env), "cwd": str(cwd or Path.cwd())}
        files = [stdout, stderr] if stdin is None else [stdout, stderr, stdin]
        return Forked(self, self.ask(wanted, files))

    def ask(self, wanted: Mapping[str, Any], files: Sequence[int] = ()) -> Any:
        """Return what the other process answers."""
        with self._lock:
            self._process = self._process or self._run()
            socket.send_fds(self._socket, [json.dumps(wanted).encode()], files)
            answer = self._socket.recv(_LARGEST)
        assert answer, "the process that forks controllers and agents has ended"
        return json.loads(answer)

    def close(self) -> None:
        """End it, and so whatever it has started."""
        self._socket.close()
        self._theirs.close()
        if self._process is not None:
            self._process.wait()


def _serve(connection: socket.socket) -> list[str] | None:
    """Fork whenever that is wanted; return the arguments in what was forked, None at the end."""
    while True:
        data, files, _, _ = socket.recv_fds(connection, _LARGEST, 3)
        if not data:
            return None
        wanted = json.loads(data)
        if "poll" in wanted:
            pid, status = os.waitpid(wanted["poll"], os.WNOHANG)
            answer = None if pid == 0 else os.waitstatus_to_exitcode(status)
        elif answer := os.fork():
            for file in files:
                os.close(file)
        else:
            connection.close()
            _become(wanted, files)
            return list(wanted["run"])
        connection.send(json.dumps(answer).encode())


def _become(wanted: Mapping[str, Any], files: Sequence[int]) -> None:
    os.setsid()
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    for file, number in zip(files, (1, 2, 0), strict=False):
        os.dup2(file, number)
        os.close(file)
    # Should it ever end with a signal of its own making, it says where it was.
    faulthandler.enable()
    os.environ.clear()
    os.environ.update(wanted["env"])
    os.chdir(wanted["cwd"])
    path = os.environ.get(_PATH, "").split(os.pathsep)
    sys.path[:0] = [each for each in path if each and each not in sys.path]


def _main(descriptor: int) -> None:
    # What the two import by themselves once they know what they are.
    commands = importlib.import_module("towline.cli")
    of_commands = [f"{commands.__name__}.{each.name}" for each in iter_modules(commands.__path__)]
    for name in (*_IMPORTED, *of_commands):
        importlib.import_module(name)
    # What is forked only writes where it changes something, and not where it counts references.
    gc.collect()
    gc.freeze()
    from towline.cli import main

    with socket.socket(fileno=descriptor) as connection:
        arguments = _serve(connection)
    if arguments is not None:
        sys.argv = ["towline", *arguments]
        main(arguments)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _main(int(sys.argv[1]))
