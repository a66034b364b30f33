"""The agent: its parts, each with a lifetime of its own, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from towline.agent.capabilities import Capabilities
from towline.agent.delivery import Claims, Delivery
from towline.agent.drain import Drain
from towline.agent.executor import Executor
from towline.agent.heartbeat import Heartbeats
from towline.agent.inbox import Inbox
from towline.agent.ledger import Ledger
from towline.agent.node import Node
from towline.agent.outbox import Outbox
from towline.agent.part import keep_running
from towline.agent.progress import ProgressSender
from towline.agent.provider import Context, Provider
from towline.agent.reads import Reads
from towline.agent.runner import Runner
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.journal import Journal
from towline.broker.settings import Settings
from towline.runtime.keys import NodeKey
from towline.wire.target import Label

log = structlog.get_logger()


class Agent:
    """Takes jobs, runs them, and reports how they ended.

    Args:
        settings: where the broker is.
        ledger: this node's ledger.
        labels: what the node carries.
        providers: make what brings the node's capabilities.
        interval: seconds between heartbeats.
        key: the node's, to which controllers seal.
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
    ) -> None:
        self._connection = Connection(settings, f"agent {hostname}", self._connection_changed)
        jetstream = JetStream(self._connection)
        journal, clock = Journal(jetstream), jetstream.clock
        context = Context(jetstream, machine, hostname, key)
        made = [make(context) for make in providers]
        node = Node(machine, hostname, made)

        self._capabilities = Capabilities(ledger, made, self._capabilities_changed)
        self._progress = ProgressSender(self._connection, machine)
        self._outbox = Outbox(journal, ledger)
        executor = Executor(node, self._capabilities, clock, self._outbox, self._progress)
        self._runner = Runner(ledger, executor, self._outbox, clock)
        self._claims = Claims(journal, machine, hostname)
        self._drain = Drain(jetstream, machine, self._drain_changed)
        self._inbox = Inbox(
            journal,
            machine,
            labels,
            ledger=ledger,
            runner=self._runner,
            reads=Reads(executor, self._outbox, clock),
            executor=executor,
            claims=self._claims,
            capabilities=self._capabilities,
            drain=self._drain,
        )
        self._heartbeats = Heartbeats(
            jetstream,
            machine,
            hostname,
            labels,
            capabilities=self._capabilities,
            tasks=lambda: executor.task_count,
            public_key=key.public,
            after=self._inbox.ready,
            interval=interval,
        )
        self._parts = {
            "inbox": self._inbox.run,
            "outbox": self._outbox.run,
            "progress": self._progress.run,
            "capabilities": self._capabilities.run,
            "drain": self._drain.run,
            "heartbeats": self._heartbeats.run,
        }

    async def ready(self) -> None:
        """Return once the fleet knows that this node is here."""
        await self._heartbeats.sent.wait()

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            self._heartbeats.connected()
            self._outbox.connected()

    def _capabilities_changed(self) -> None:
        self._heartbeats.send_now()
        self._inbox.changed()

    def _drain_changed(self) -> None:
        self._inbox.changed()

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until cancelled; then take no more jobs, and say that this node goes away.

        Args:
            ready: called once the fleet knows that this node is here.
        """
        await self._capabilities.probe()
        async with self._connection:
            try:
                # What stands in the ledger needs no broker to be run.
                await self._runner.resume(lambda job: Delivery(job, self._claims))
                async with asyncio.TaskGroup() as group:
                    for name, run in self._parts.items():
                        group.create_task(keep_running(name, run))
                    await self.ready()
                    ready()
            finally:
                await self._close()

    async def _close(self) -> None:
        for close in (
            self._runner.close,
            self._outbox.close,
            self._heartbeats.close,
            self._capabilities.close,
        ):
            try:
                await close()
            except Exception:
                log.exception("part not closed", part=close.__qualname__)
