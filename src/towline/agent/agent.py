"""The loop on the node: jobs in, events out, signs of life."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import structlog

from towline.agent.docker.engine import Engine
from towline.agent.docker.pull.attempts import Step
from towline.agent.docker.pull.cooldown import Rests
from towline.agent.docker.pull.credentials import Credentials
from towline.agent.docker.pull.disk import MIN_FREE, Room
from towline.agent.docker.pull.docker_config import DockerConfiguration
from towline.agent.docker.pull.places import MAX_PULLS
from towline.agent.docker.pull.resolution import Digests
from towline.agent.heartbeat import DOCKER, Presence
from towline.agent.ledger import Ledger
from towline.agent.node import Node
from towline.agent.progress import Reports
from towline.agent.runner import Tasks
from towline.broker.connection import Connection
from towline.broker.consumer import Follower
from towline.broker.journal import JOBS, Journal
from towline.broker.settings import Settings
from towline.operation import NODE
from towline.runtime.keys import NodeKey
from towline.units import Share
from towline.wire.job import Job
from towline.wire.subjects import ALL_SUBJECT, any_subject, label_subject, node_subject
from towline.wire.target import Label

log = structlog.get_logger()

PLACES = 128
"""Nodes that wait for `_any` jobs at a time: enough for any rate, and any of them will do."""


class Agent:
    """Takes jobs on, runs them, reports.

    Args:
        settings: where the broker is.
        ledger: this node's ledger.
        labels: what the node carries.
        engine: the node's Docker Engine; None where it is to have none.
        engine_named: whether somebody named that engine: then it counts as there even if it has
            never been seen.
        interval: seconds between heartbeats.
        min_free: how much of the disk with the engine's images pulls leave free.
        max_pulls: how many pulls run at a time.
        key: the node's, to which controllers seal.
        docker_config: the node's Docker configuration; None where it is to be left alone.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        machine: str,
        hostname: str,
        labels: list[Label],
        engine: Engine | None,
        engine_named: bool,
        interval: float,
        key: NodeKey,
        docker_config: Path | None,
        min_free: Share = MIN_FREE,
        max_pulls: int = MAX_PULLS,
    ) -> None:
        self._broker = Connection(settings, f"agent {hostname}", self._connection_changed)
        self._ledger = ledger
        self._machine = machine
        self._labels = labels
        self._engine = engine
        self._presence = Presence(
            self._broker,
            machine=machine,
            hostname=hostname,
            labels=labels,
            engine=engine,
            engine_named=engine_named,
            interval=interval,
            running=lambda: self._tasks.running,
            public_key=key.public,
        )
        own = None if docker_config is None else DockerConfiguration(docker_config)
        steps: list[Step] = [Credentials(self._broker, machine, key, own)]
        if engine is not None:
            steps.append(Rests(self._broker, hostname))
            steps.append(Room(engine, min_free))
            steps.append(Digests(engine, Journal(self._broker), machine, hostname))
        node = Node(machine, hostname, engine, steps, max_pulls)
        self._reports = Reports(self._broker, machine)
        self._tasks = Tasks(Journal(self._broker), ledger, node, self._presence, self._reports)
        self._shared: dict[str, asyncio.Task[None]] = {}

    async def ready(self) -> None:
        """Return once the fleet has been told that this node is here."""
        await self._presence.told.wait()

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            self._presence.connected()
            self._tasks.connected()

    async def run(self) -> None:
        """Work until cancelled; then stop taking jobs on, and say good-bye."""
        await self._presence.probe()
        async with self._broker:
            subjects = [node_subject(self._machine), ALL_SUBJECT]
            for label in self._labels:
                subjects += [label_subject(prefix) for prefix in label.prefixes()]
            own = Follower(
                self._broker,
                JOBS,
                subjects=subjects,
                durable=self._machine,
                resume=self._ledger.settled,
            )
            try:
                # At once: what stands in the ledger needs no broker to be run.
                self._tasks.resume()
                # Before the first heartbeat: from then on jobs may be made for this node.
                await own.prepare()
                await self._tasks.settle(str(own.created), own.delivered)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._follow(own))
                    group.create_task(self._presence.keep())
                    group.create_task(self._presence.watch_engine(self._follow_shared))
                    group.create_task(self._presence.know_state(self._follow_shared))
                    group.create_task(self._tasks.report())
                    group.create_task(self._reports.send())
                    group.create_task(self._tasks.tidy())
                    group.create_task(self._tasks.watch_ledger(self._follow_shared))
            finally:
                await self._leave()

    async def _leave(self) -> None:
        for task in self._shared.values():
            task.cancel()
        await asyncio.gather(*self._shared.values(), return_exceptions=True)
        await self._tasks.stop()
        await self._presence.leave()
        if self._engine is not None:
            await self._engine.close()

    def _follow_shared(self) -> None:
        """Ask for `_any` jobs while this node can do them, and only then."""
        for capability in (NODE, DOCKER):
            works = self._presence.works(capability)
            task = self._shared.get(capability)
            if works and task is None:
                follower = Follower(
                    self._broker,
                    JOBS,
                    subjects=[any_subject(capability)],
                    # The first node that can do it finds what was asked before it came.
                    after=0,
                    durable=f"_any-{capability}",
                    batch=1,
                    places=PLACES,
                    # Few, and all nodes depend on them.
                    replicas=0,
                )
                self._shared[capability] = asyncio.create_task(self._follow(follower))
            elif not works and task is not None:
                task.cancel()
                del self._shared[capability]

    async def _follow(self, follower: Follower) -> None:
        async for message in follower:
            try:
                job = msgspec.json.decode(message.data, type=Job)
            except msgspec.MsgspecError as error:
                log.error("job not readable", sequence=message.sequence, reason=str(error))
                await message.acknowledge()
                continue
            await self._tasks.take(job, message)
