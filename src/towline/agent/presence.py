"""Being there: what the node tells the fleet of itself, and whether its engine works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import time
from collections.abc import Callable

import msgspec
import structlog

from towline import __version__
from towline.agent.engine import Engine
from towline.broker import BrokerRefused, Connection
from towline.errors import BrokerUnreachable, TowlineError
from towline.fleet import HEARTBEATS, NODES, Heartbeat, Registration
from towline.operation import NODE
from towline.target import Label

log = structlog.get_logger()

DOCKER = "docker"
PROBE_EVERY = 2.0
"""Seconds between looks at the engine: a node says so soon when it goes or comes back."""


class Presence:
    """Registers the node and keeps sending signs of life.

    Args:
        engine: the node's Docker Engine; None where it is to have none.
        engine_named: whether somebody named that engine: then it counts as there even if it has
            never been seen.
        interval: seconds between heartbeats.
        running: how many tasks there are just now.
    """

    def __init__(
        self,
        broker: Connection,
        *,
        machine: str,
        hostname: str,
        labels: list[Label],
        engine: Engine | None,
        engine_named: bool,
        interval: float,
        running: Callable[[], int],
    ) -> None:
        self._broker = broker
        self._machine = machine
        self._hostname = hostname
        self._labels = labels
        self._engine = engine
        self._engine_seen = engine_named
        self._engine_trouble = "not asked yet"
        self._interval = interval
        self._running = running
        self._registered = False
        self._started = time.time()
        self._beat = asyncio.Event()

    def connected(self) -> None:
        """Tell the fleet all again: the broker may have lost what it knew of us."""
        self._registered = False
        self._beat.set()

    def soon(self) -> None:
        """Send the next sign of life now: something has changed."""
        self._beat.set()

    async def keep(self) -> None:
        """Send signs of life, for ever."""
        while True:
            self._beat.clear()
            try:
                if not self._registered:
                    await self._register()
                    self._registered = True
                    log.info("agent registered", machine=self._machine, hostname=self._hostname)
                capabilities = {NODE: ""}
                if self.offers(DOCKER):
                    capabilities[DOCKER] = self._engine_trouble
                # Acknowledged: right after a broker's restart the bucket may not be there yet.
                await self._broker.append(
                    self._subject(HEARTBEATS),
                    msgspec.json.encode(Heartbeat(capabilities, self._running())),
                )
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("heartbeat not sent", reason=error.details)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._beat.wait()

    async def leave(self) -> None:
        """Say good-bye."""
        beat = msgspec.json.encode(Heartbeat(leaving=True))
        await self._broker.publish(self._subject(HEARTBEATS), beat)

    def _subject(self, bucket: str) -> str:
        return f"$KV.{bucket}.{self._machine}"

    async def _register(self) -> None:
        subject = self._subject(NODES)
        registered = time.time()
        with contextlib.suppress(BrokerRefused):
            answer = await self._broker.request(f"$JS.API.DIRECT.GET.KV_{NODES}.{subject}", b"")
            if answer.data:
                registered = msgspec.json.decode(answer.data, type=Registration).registered
        registration = Registration(
            machine=self._machine,
            hostname=self._hostname,
            version=__version__,
            started=self._started,
            registered=registered,
            interval=self._interval,
            labels={label.key: label.value for label in self._labels},
            architecture=platform.machine(),
            kernel=platform.release(),
            cpu_count=os.cpu_count() or 0,
        )
        await self._broker.append(subject, msgspec.json.encode(registration))

    async def watch_engine(self, changed: Callable[[], None]) -> None:
        """Look after the engine, for ever; `changed` is called after each look."""
        while True:
            await self.probe()
            changed()
            await asyncio.sleep(PROBE_EVERY)

    async def probe(self) -> None:
        """Ask the engine whether it is there."""
        if self._engine is None:
            return
        trouble = ""
        try:
            version = await self._engine.ping()
            if self._engine_trouble:
                log.info("engine here", engine=self._engine.url, version=version)
            self._engine_seen = True
        except TowlineError as error:
            trouble = error.error
        if trouble and trouble != self._engine_trouble:
            log.warning("engine away", engine=self._engine.url, reason=trouble)
        if trouble != self._engine_trouble:
            self._engine_trouble = trouble
            self.soon()

    def offers(self, capability: str) -> bool:
        """Whether this node has `capability`, working at this moment or not."""
        if capability == DOCKER:
            return self._engine is not None and self._engine_seen
        return capability == NODE

    def works(self, capability: str) -> bool:
        """Whether `capability` works at this moment."""
        return self.offers(capability) and (capability != DOCKER or not self._engine_trouble)
