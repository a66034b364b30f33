"""The embedded broker: a nats-server of our own, on loopback, its data in the state directory.

It has the accounts of the fleet's trust directory, between which no message passes: one for the
journal, and one without JetStream for the nodes.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Self

from towline.broker.settings import Settings
from towline.errors import InvalidConfiguration
from towline.runtime.nats_conf import Plan, nats_conf
from towline.runtime.nats_server import START_WITHIN, STOP_WITHIN, NatsServer
from towline.runtime.state_directory import make_private, write_private
from towline.trust.keys import JOURNAL_LOGIN, NODES_LOGIN, Trust

_HOST = "127.0.0.1"
_JOURNALS_BEFORE = ("$G", "JOURNAL")
"""The accounts in which earlier versions had the journal: nobody logs in there any more."""


class EmbeddedBroker:
    """A nats-server as a child process, which ends when this process does.

    It has to be started from the main thread (see `lifeline`).

    Args:
        directory: where its data and configuration are.
        trust: whom it trusts, and what controllers log in with.
        machine: the machine id of the node whose agent logs in here.
        program: the path of the server; None for the one that is installed with Towline.
        start_within, stop_within: seconds for the server to start and to stop.

    Attributes:
        agent_login: the file with the login of that.
    """

    def __init__(
        self,
        directory: Path,
        trust: Trust,
        machine: str,
        *,
        program: str | None = None,
        start_within: float = START_WITHIN,
        stop_within: float = STOP_WITHIN,
    ) -> None:
        self._directory = directory
        self._trust = trust
        self._machine = machine
        self._configuration = directory / "nats.conf"
        self.agent_login = directory / "agent.creds"
        self._server = NatsServer(
            self._configuration,
            directory / "nats.log",
            program=program,
            start_within=start_within,
            stop_within=stop_within,
        )
        self._port = 0

    @property
    def settings(self) -> Settings:
        """How to connect to it in the journal's account."""
        return self._settings(self._trust.path(JOURNAL_LOGIN))

    @property
    def nodes_settings(self) -> Settings:
        """How a controller connects to it in the nodes' account."""
        return self._settings(self._trust.path(NODES_LOGIN))

    @property
    def agent_settings(self) -> Settings:
        """How the node's agent connects to it in the nodes' account."""
        return self._settings(self.agent_login)

    def _settings(self, credentials: Path) -> Settings:
        return Settings([f"nats://{self._listen}"], credentials)

    @property
    def _listen(self) -> str:
        return f"{_HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._server.pid

    async def __aenter__(self) -> Self:
        make_private(self._directory)
        self._refuse_earlier_journal()
        await self._server.end_orphan()
        self._port = self._choose_port()
        plan = Plan(self._listen, "towline", self._directory)
        write_private(self._configuration, nats_conf(plan, self._trust.accounts()))
        # A new one at each start: then it is for the machine id and the keys that there are.
        write_private(self.agent_login, self._trust.node_login(self._machine))
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
        # An empty journal would take the place of the earlier one without a word.
        kept = self._directory / "data" / "jetstream"
        if any((kept / account).exists() for account in _JOURNALS_BEFORE):
            raise InvalidConfiguration(
                f"The journal in {str(self._directory)!r} is of an earlier version of Towline, "
                "which alone can read it.",
                "name another state directory with --state, or move this one away",
            )

    async def start(self) -> None:
        """Start the server and wait until it accepts connections.

        Raises:
            InvalidConfiguration: it ended, or did not answer in time; with the end of its log.
        """
        await self._server.start(self._listen)

    async def wait(self) -> int:
        """Wait until the server ends and return its status."""
        return await self._server.wait()

    async def stop(self) -> None:
        """Stop the server, by force if it doesn't end in time."""
        await self._server.stop()


def _free_port(wanted: int = 0) -> int:
    """Return a free port of loopback: the one that is wanted, else any.

    Raises:
        OSError: the one that is wanted is in use.
    """
    with socket.socket() as probe:
        if wanted:
            # Connections of the last start may still be in TIME_WAIT.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((_HOST, wanted))
        port: int = probe.getsockname()[1]
        return port
