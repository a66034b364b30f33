"""Heartbeats: that the node is here, what it is, and what it can do at this moment."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from towline import __version__
from towline.agent.capabilities import Capabilities
from towline.agent.host import machine as host
from towline.broker.answers import BrokerRefused
from towline.broker.bucket import Bucket
from towline.broker.clock import running
from towline.broker.jetstream import JetStream
from towline.errors import BrokerUnreachable
from towline.wire.node import Heartbeat, Registration
from towline.wire.subjects import HEARTBEATS, NODES
from towline.wire.target import Label

log = structlog.get_logger()


class Heartbeats:
    """Registers a node, and sends its heartbeats.

    Attributes:
        sent: set once a heartbeat was stored: from then on the fleet knows that the node is here.

    Args:
        labels: what the node carries.
        capabilities: what it can do.
        tasks: returns how many tasks there are at this moment.
        public_key: what is sealed to it only this node can read.
        after: no heartbeat is sent before this is set; jobs are made for nodes that have sent one.
        interval: seconds between heartbeats.
    """

    def __init__(
        self,
        jetstream: JetStream,
        machine: str,
        hostname: str,
        labels: list[Label],
        *,
        capabilities: Capabilities,
        tasks: Callable[[], int],
        public_key: str,
        after: asyncio.Event,
        interval: float,
    ) -> None:
        self._nodes = Bucket(jetstream, NODES, Registration)
        self._heartbeats = Bucket(jetstream, HEARTBEATS, Heartbeat)
        self._machine = machine
        self._hostname = hostname
        self._labels = labels
        self._capabilities = capabilities
        self._tasks = tasks
        self._public_key = public_key
        self._after = after
        self._interval = interval
        self._registered = False
        self._begun = running()
        self._due = asyncio.Event()
        self.sent = asyncio.Event()

    def connected(self) -> None:
        """Register anew: the broker may have lost what it knew of this node."""
        self._registered = False
        self._due.set()

    def send_now(self) -> None:
        """Send the next heartbeat now: something has changed."""
        self._due.set()

    async def run(self) -> None:
        """Send heartbeats, for ever."""
        await self._after.wait()
        while True:
            self._due.clear()
            try:
                if not self._registered:
                    await self._register()
                    self._registered = True
                    log.info("agent registered", machine=self._machine, hostname=self._hostname)
                beat = Heartbeat(
                    self._capabilities.troubles,
                    self._tasks(),
                    load=host.load_average(),
                    memory=host.memory(),
                )
                # Acknowledged: right after a broker's restart the bucket may not be there yet.
                await self._heartbeats.put(self._machine, beat)
                self.sent.set()
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("heartbeat not sent", reason=error.details)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._due.wait()

    async def close(self) -> None:
        """Send the last heartbeat: this node goes away of its own will."""
        await self._heartbeats.put_unconfirmed(self._machine, Heartbeat(leaving=True))

    async def _register(self) -> None:
        now = time.time()
        registered = now
        with contextlib.suppress(BrokerRefused):
            entry = await self._nodes.get_nearby(self._machine)
            if entry is not None and entry.value is not None:
                registered = entry.value.registered
        facts = host.facts()
        registration = Registration(
            machine=self._machine,
            hostname=self._hostname,
            version=__version__,
            # From how long that is ago: the clock may have been set right since.
            started=now - (running() - self._begun),
            registered=registered,
            interval=self._interval,
            labels={label.key: label.value for label in self._labels},
            architecture=facts.architecture,
            kernel=facts.kernel,
            cpu_count=facts.cpu_count,
            distribution=facts.distribution,
            os_version=facts.os_version,
            booted=facts.booted,
            public_key=self._public_key,
        )
        await self._nodes.put(self._machine, registration)
