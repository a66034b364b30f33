"""Controllers, as far as they let nodes in and remove them, and nodes that are here or away."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import msgspec
import nats

from tests.testing.joining import Machine, enrolment_key
from tests.testing.own_broker import OwnBroker
from tests.testing.signing import SIGNER, VERIFIER, opened
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.listener import Received
from towline.broker.settings import Settings
from towline.controller.absences import Absences
from towline.controller.audit.archive import Archive
from towline.controller.audit.entry import AUDIT, Entry, entries_of
from towline.controller.audit.trail import Keeping, Trail
from towline.controller.budget import Budget
from towline.controller.ephemeral import Ephemeral
from towline.controller.expulsion import Expulsion
from towline.controller.fleet import Fleet
from towline.controller.invites import Invites
from towline.controller.joining import Joining
from towline.controller.logins import Logins
from towline.controller.members import Members
from towline.controller.presence import Presence
from towline.controller.replacing import Replacing
from towline.controller.rollout.lease import Lease
from towline.trust import claims
from towline.trust.account import NodesAccount
from towline.trust.keys import JOURNAL_LOGIN, NODES_LOGIN, SYSTEM_LOGIN
from towline.wire.joining import JoinAnswer
from towline.wire.node import Heartbeat, Registration
from towline.wire.subjects import REGISTER, heartbeat_subject, question_subject

INTERVAL = 0.2
"""Seconds between heartbeats: away is a node after three."""
GRACE = 0.3
LOOK_EVERY = 0.02
SEEN_FOR = 1.0
NOTED_AFTER = 0.1
KEPT_FOR = 0.1
AWAY_FOR = 0.5


class Site:
    """One controller on a real broker; `able` says whether it may act.

    Parameters: `seen_for` is for how long it has to see a node away that it is to remove, and
    `kept_for` for how long that is to be kept of it;
    `starts_within` for how long one keeps its name that came in and was never here; one that is
    `deaf` receives no heartbeats.
    """

    def __init__(
        self,
        broker: OwnBroker,
        *,
        seen_for: float = SEEN_FOR,
        kept_for: float = KEPT_FOR,
        starts_within: float = 0.0,
        deaf: bool = False,
    ) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._broker = broker

        def settings(login: str) -> Settings:
            return Settings([broker.url], broker.trust.path(login), broker.ca)

        self._journal = Connection(settings(JOURNAL_LOGIN), "tests")
        self._nodes = Connection(settings(NODES_LOGIN), "tests of nodes")
        jetstream = JetStream(self._journal)
        self.fleet = Fleet()
        self.able = asyncio.Event()
        self.members = Members(jetstream, self.fleet)
        self.invites = Invites(jetstream)
        self.presence = Presence(
            *(self.fleet, self._nodes, jetstream, SIGNER),
            budget=Budget(rate=0.0, burst=0.0) if deaf else None,
            interval=INTERVAL,
            members_known=self.members.known,
            look_every=LOOK_EVERY,
            grace=GRACE,
        )
        self.trail = Trail(jetstream, SIGNER, "ctl-1", Keeping(), gathered_for=0.001)
        self.logins = Logins(jetstream, settings(SYSTEM_LOGIN), NodesAccount(broker.trust))
        self.expulsion = Expulsion(self.presence, self.members, self.logins, self.trail)
        self.absences = Absences(self.fleet, self._nodes, self.able, look_every=LOOK_EVERY)
        self.ephemeral = Ephemeral(
            *(self.fleet, self.members, self.absences, self.expulsion),
            Lease(jetstream, "ephemeral"),
            look_every=LOOK_EVERY,
            noted_after=NOTED_AFTER,
            kept_for=kept_for,
            seen_for=seen_for,
        )
        replacing = Replacing(
            *(self.fleet, self.members, self.absences, self.expulsion),
            away_for=AWAY_FOR,
            starts_within=starts_within,
        )
        self.joining = Joining(
            *(broker.trust, [broker.url], SIGNER, self.members, self.invites, self.fleet),
            replacing,
        )
        self.key = enrolment_key(self.joining)
        self._jetstream = jetstream
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for connection in (self._journal, self._nodes):
            await self._stack.enter_async_context(connection)
        lease = Lease(self._jetstream, "ephemeral")
        kept = (self.members, self.invites, self.presence, self.trail, self.logins, lease)
        for each in kept:
            await each.create(1)
        parts = (self.members, self.presence, self.trail, self.logins)
        for part in (*parts, self.absences, self.ephemeral):
            self._tasks.append(asyncio.create_task(part.run()))
        async with asyncio.timeout(20):
            await self.members.known.wait()
            await self.presence.settled.wait()
        self.able.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def invite(self, **given: Any) -> str:
        """Make an invite; return its token."""
        return (await self.joining.invite("ann", 60.0, **{"uses": None, **given}))[1]

    async def join(self, machine: Machine, token: str, **wanted: Any) -> JoinAnswer:
        """Let a machine in."""
        request = machine.request(token, self.key, **wanted)
        return machine.read(await self.joining.join(request), request, self.key)

    async def until(self, machine: str, state: str) -> None:
        """Wait until the record of a member has a state here."""
        async with asyncio.timeout(30):
            while getattr(self.members.get(machine), "state", "") != state:
                await asyncio.sleep(0.005)

    async def until_here(self, machine: str, *, here: bool = True) -> None:
        """Wait until a node is here, or away."""
        async with asyncio.timeout(30):
            while self.fleet.is_here(machine) is not here:
                await asyncio.sleep(0.005)

    async def removals(self) -> list[Entry]:
        """Return the entries of the audit about nodes that were removed."""
        async with asyncio.timeout(20):
            while self.trail.waiting:
                await asyncio.sleep(0.005)
        archive = Archive(self._jetstream, None, self.trail, VERIFIER, 0.0)  # type: ignore[arg-type]
        groups = [opened(data) async for _, data in archive._all(AUDIT)]
        entries = [entry for group in groups for entry, _ in entries_of(group)]
        return [each for each in entries if each.operation == "agent.remove"]


class Node:
    """A node that came in: registered, and sending heartbeats for as long as the block lasts.

    Attributes:
        login: the text of its `.creds` file.
        dropped: set when the broker has ended its connection.
    """

    def __init__(self, broker: OwnBroker, machine: Machine, jwt: str, directory: Path) -> None:
        self._broker = broker
        self.machine = machine.machine
        self._name = machine.name
        self.login = claims.credentials(jwt, machine.keys.seed)
        self._file = directory / f"{self.machine}.creds"
        self._file.write_text(self.login)
        self.dropped = asyncio.Event()

    @contextlib.asynccontextmanager
    async def here(self, *sites: Site, leaves: bool = False) -> AsyncIterator[None]:
        """Be here at some controllers; `leaves` says that the agent says so when it ends."""
        registration = Registration(self.machine, self._name, "0.2.0", time.time())
        subject = question_subject(self.machine, REGISTER)
        received = Received(subject, msgspec.json.encode(registration), "")
        for site in sites:
            answer = await site.presence.register(received)
            assert not answer.error, answer
        beating = asyncio.create_task(self._beat(leaves))
        try:
            for site in sites:
                await site.until_here(self.machine)
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self, leaves: bool) -> None:
        beat = Heartbeat(secrets.token_hex(8), INTERVAL)
        subject = heartbeat_subject(self.machine)
        async with self._broker.client(self._file) as client:
            try:
                while True:
                    await client.publish(subject, msgspec.json.encode(beat))
                    await asyncio.sleep(INTERVAL / 4)
            except nats.errors.ConnectionClosedError:
                self.dropped.set()
            except asyncio.CancelledError:
                if leaves:
                    last = msgspec.structs.replace(beat, leaving=True)
                    await client.publish(subject, msgspec.json.encode(last))
                    await client.flush()
                raise
