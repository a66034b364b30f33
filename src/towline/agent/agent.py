"""The agent: its parts, each with a lifetime of its own, put together."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from towline.agent.asking import FRESH_FOR, Controllers
from towline.agent.capabilities import PROBE_EVERY, Capabilities
from towline.agent.executor import Executor
from towline.agent.heartbeat import Heartbeats
from towline.agent.host.facts import Gathered, gather
from towline.agent.host.survey import Survey
from towline.agent.inbox import Inbox
from towline.agent.inventory import InventorySender
from towline.agent.ledger import Ledger
from towline.agent.node import Node
from towline.agent.outbox import Outbox
from towline.agent.progress import ProgressSender
from towline.agent.provider import Context, HeldInventory, Provider, Stocked
from towline.agent.questions import ControllerQuestions
from towline.agent.reads import Reads
from towline.agent.renewal import Renewal
from towline.agent.runner import Runner
from towline.agent.trust_files import TrustFiles
from towline.broker.clock import Clock
from towline.broker.connection import Connection
from towline.broker.settings import Settings
from towline.runtime.keys import NodeKey
from towline.runtime.part import keep_running
from towline.trust.identity import Identity
from towline.trust.trusted import JOBS
from towline.wire.facts import named
from towline.wire.subjects import inbox_prefix
from towline.wire.target import Label

log = structlog.get_logger()


class Agent:
    """Takes what is released to its node, runs it, and reports how it ended.

    Args:
        settings: where the broker is.
        ledger: this node's ledger.
        labels: what the node carries.
        providers: make what brings the node's capabilities.
        interval: seconds between heartbeats, until a controller names others.
        key: the node's, to which controllers seal.
        trust: the files that say whom the node trusts.
        identity: whose login is renewed; None for a login that is somebody else's care.
        probe_every: seconds between looks at what the node can do.
        gather: looks at the machine; called in a thread.
        fresh_for: seconds; see `towline.agent.asking`.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        machine: str,
        hostname: str,
        labels: list[Label],
        providers: Sequence[Callable[[Context], Provider]],
        interval: float,
        key: NodeKey,
        trust: TrustFiles,
        identity: Identity | None = None,
        probe_every: float = PROBE_EVERY,
        gather: Callable[[], Gathered] = gather,
        fresh_for: float = FRESH_FOR,
    ) -> None:
        self._connection = Connection(
            settings,
            f"agent {hostname}",
            self._connection_changed,
            inbox=inbox_prefix(machine),
            on_refused=self._cut_off,
        )
        self._ledger = ledger
        self._start = secrets.token_hex(8)
        self._taken = asyncio.Event()
        """Set once a controller has taken this start for the node, and not for a second agent."""
        clock = Clock()
        self._controllers = Controllers(
            self._connection, machine, clock, trust.verifier, fresh_for=fresh_for
        )
        self._controllers.on_unknown_key = partial(self._cut_off, JOBS)
        self._questions = ControllerQuestions(self._controllers, machine)
        context = Context(machine, hostname, key, self._questions, clock.now, self._start)
        made = [make(context) for make in providers]
        stocked = [provider.inventory for provider in made if isinstance(provider, Stocked)]
        inventory: HeldInventory | None = stocked[0] if stocked else None

        self._capabilities = Capabilities(
            ledger, made, self._capabilities_changed, probe_every=probe_every
        )
        self._survey = Survey(gather, self._facts_changed)
        self._progress = ProgressSender(self._connection, machine)
        self._outbox = Outbox(self._connection, machine, ledger, self._controllers)
        executor = Executor(
            Node(machine, hostname, made),
            self._capabilities,
            clock,
            self._outbox,
            self._progress,
            lambda: named(self._survey.facts, hostname),
        )
        self._runner = Runner(ledger, executor, self._outbox, clock)
        self._heartbeats = Heartbeats(
            self._connection,
            machine,
            hostname,
            labels,
            start=self._start,
            after=ledger.last_start,
            controllers=self._controllers,
            questions=self._questions,
            ledger=ledger,
            capabilities=self._capabilities,
            survey=self._survey,
            running_tasks=lambda: executor.task_count,
            public_key=key.public,
            trusts=lambda: trust.trusted.hash,
            inventory=lambda: "" if inventory is None else inventory.hash,
            told=self._told,
            subscribed=self._subscribed,
            taken=self._go_on,
            interval=interval,
        )
        self._inbox = Inbox(
            self._connection,
            machine,
            self._start,
            controllers=self._controllers,
            questions=self._questions,
            executor=executor,
            runner=self._runner,
            reads=Reads(self._connection, executor),
            outbox=self._outbox,
            heartbeats=self._heartbeats,
            progress=self._progress,
            recount=self._recount,
        )
        self._parts = {
            "inbox": self._inbox.run,
            "outbox": self._report,
            "progress": self._progress.run,
            "capabilities": self._capabilities.run,
            "survey": self._survey.run,
            "runner": self._runner.run,
            "heartbeats": self._heartbeats.run,
            "trust": trust.run,
        }
        self._inventory: InventorySender | None = None
        """None for a node with no provider of which there is one."""
        if inventory is not None:
            self._inventory = InventorySender(
                self._connection, machine, inventory, self._heartbeats.sent
            )
            self._parts["inventory"] = self._inventory.run
        trust.on_change = self._heartbeats.register_anew
        # When the old key is retired brokers drop whoever is logged in by it: all at once.
        trust.on_other_issuer = self._connection.renew
        self._renewal: Renewal | None = None
        """None for a node whose files are somebody else's care."""
        if identity is not None:
            self._renewal = Renewal(identity, trust, self._questions, clock.now)
            self._parts["renewal"] = self._renewal.run

    @property
    def refused(self) -> int:
        """How many messages, receipts and answers could not be read, or were not believed."""
        return self._controllers.refused

    async def ready(self) -> None:
        """Return once the fleet knows that this node is here."""
        await self._heartbeats.sent.wait()

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            self._heartbeats.register_anew()
            self._outbox.send_now()

    def _told(self, trusts: str, spread: float) -> None:
        if self._renewal is not None:
            self._renewal.told(trusts, spread)

    def _cut_off(self, kind: str | None = None) -> None:
        if self._renewal is not None:
            self._renewal.cut_off(kind)

    def _recount(self) -> None:
        if self._inventory is not None:
            self._inventory.recount()

    def _capabilities_changed(self) -> None:
        self._heartbeats.send_now()

    def _facts_changed(self) -> None:
        self._heartbeats.register_anew()

    async def _subscribed(self) -> None:
        await self._inbox.ready()

    async def _go_on(self) -> None:
        if not self._taken.is_set():
            # Not before: of a ledger that is a copy all runs where that was copied from.
            await self._runner.resume()
            self._taken.set()

    async def _report(self) -> None:
        await self._taken.wait()
        await self._outbox.run()

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until cancelled; then take nothing more, and say that this node goes away.

        Args:
            ready: called once the fleet knows that this node is here.
        """
        await asyncio.gather(self._capabilities.probe(), self._survey.look())
        self._ledger.begin(self._start)
        async with self._connection:
            try:
                async with asyncio.TaskGroup() as group:
                    for name, run in self._parts.items():
                        group.create_task(keep_running(name, run))
                    await self.ready()
                    ready()
            finally:
                await self._close()

    async def _close(self) -> None:
        for close in (
            self._inbox.close,
            self._runner.close,
            *((self._outbox.close,) if self._taken.is_set() else ()),
            self._heartbeats.close,
            self._capabilities.close,
        ):
            try:
                await close()
            except Exception:
                log.exception("part not closed", part=close.__qualname__)
