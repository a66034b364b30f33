"""Being there: what the node tells the fleet of itself, and whether its engine works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg

from towline import __version__
from towline.agent.docker.engine import Engine
from towline.broker.connection import BrokerRefused, Connection
from towline.errors import BrokerUnreachable, TowlineError
from towline.operation import NODE
from towline.wire.node import Heartbeat, NodeState, Registration
from towline.wire.subjects import HEARTBEATS, NODES, STATES, state_subject
from towline.wire.target import Label

log = structlog.get_logger()

DOCKER = "docker"
RETRY_EVERY = 0.5
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
        public_key: what is sealed to it only this node can read.
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
        public_key: str,
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
        self._public_key = public_key
        self._registered = False
        self._started = time.time()
        self._beat = asyncio.Event()
        self._doubt = asyncio.Event()
        self.told = asyncio.Event()
        """Set once the fleet has been told that the node is here."""
        self.drained = False
        self.ledger_trouble = ""
        """Why this node can take no work on just now."""

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
                capabilities = {NODE: self.ledger_trouble}
                if self.offers(DOCKER):
                    capabilities[DOCKER] = self.ledger_trouble or self._engine_trouble
                beat = Heartbeat(
                    capabilities, self._running(), load=os.getloadavg(), memory=memory()
                )
                # Acknowledged: right after a broker's restart the bucket may not be there yet.
                await self._broker.append(self._subject(HEARTBEATS), msgspec.json.encode(beat))
                self.told.set()
            except (BrokerUnreachable, BrokerRefused) as error:
                log.warning("heartbeat not sent", reason=error.details)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._beat.wait()

    async def know_state(self, changed: Callable[[], None]) -> None:
        """Learn whether this node is drained: at each connection and when told, for ever.

        Args:
            changed: called when it has changed.
        """

        async def tell(_: Msg) -> None:
            self._doubt.set()

        while True:
            client = await self._broker.client()
            lost = asyncio.create_task(self._broker.lost())
            lost.add_done_callback(lambda _: self._doubt.set())
            try:
                await client.subscribe(state_subject(self._machine), cb=tell)
                while not lost.done():
                    self._doubt.clear()
                    drained = await self._is_drained()
                    if drained != self.drained:
                        self.drained = drained
                        log.info("node drained" if drained else "node undrained")
                        changed()
                    await self._doubt.wait()
            except (BrokerUnreachable, nats.errors.Error, OSError) as error:
                log.warning("state not known", reason=str(error))
                await asyncio.sleep(RETRY_EVERY)
            finally:
                lost.cancel()

    def doubt_state(self) -> None:
        """Ask again whether this node is drained: a job says that it is."""
        self._doubt.set()

    async def _is_drained(self) -> bool:
        answer = await self._broker.request(
            f"$JS.API.DIRECT.GET.KV_{STATES}.{self._subject(STATES)}", b""
        )
        if not answer.data:
            return False
        try:
            return msgspec.json.decode(answer.data, type=NodeState).drained is not None
        except msgspec.MsgspecError as error:
            log.error("state not readable", reason=str(error))
            return self.drained

    async def leave(self) -> None:
        """Say good-bye."""
        beat = msgspec.json.encode(Heartbeat(leaving=True))
        await self._broker.publish(self._subject(HEARTBEATS), beat)

    def _subject(self, bucket: str) -> str:
        return f"$KV.{bucket}.{self._machine}"

    async def _register(self) -> None:
        subject = self._subject(NODES)
        registered = time.time()
        with contextlib.suppress(BrokerRefused, msgspec.MsgspecError):
            answer = await self._broker.request(f"$JS.API.DIRECT.GET.KV_{NODES}.{subject}", b"")
            if answer.data:
                registered = msgspec.json.decode(answer.data, type=Registration).registered
        system = {}
        with contextlib.suppress(OSError):
            system = platform.freedesktop_os_release()
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
            distribution=system.get("ID", ""),
            os_version=system.get("VERSION_ID", ""),
            booted=time.time() - time.clock_gettime(time.CLOCK_BOOTTIME),
            public_key=self._public_key,
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
        """Whether `capability` works at this moment, and the node takes work."""
        return (
            not self.drained
            and not self.ledger_trouble
            and self.offers(capability)
            and (capability != DOCKER or not self._engine_trouble)
        )


def memory() -> tuple[int, int, int] | None:
    """Return the machine's memory in bytes: total, free and used; None where it isn't told.

    Source: proc_meminfo(5). Free is what programs can have without swapping (MemAvailable).
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = {name: int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in lines)}
        total, free = 1024 * found["MemTotal"], 1024 * found["MemAvailable"]
    except (OSError, KeyError, ValueError):
        return None
    return total, free, total - free
