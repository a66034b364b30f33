"""Health: whether a job would work at this moment, and what a controller works with."""

from __future__ import annotations

import asyncio
import socket
import time

from towline import __version__
from towline.broker.clock import running
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.streams import StreamInfo, list_consumers, list_streams
from towline.controller.audit.trail import Trail
from towline.controller.budget import Budget
from towline.controller.fleet import Fleet
from towline.controller.inventory.inventories import Inventories
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.lists import Lists
from towline.controller.member import Member
from towline.endpoints.health import (
    AgentCounts,
    AgentSummary,
    AuditStatus,
    BrokerStatus,
    BucketStatus,
    Component,
    ConsumerCounts,
    ConsumerStatus,
    HealthStatus,
    InventoryCounts,
    JobCounts,
    Process,
    StreamStatus,
)
from towline.errors import BrokerError
from towline.operation import NODE
from towline.units import show_uptime, timestamp

DOCKER = "docker"
BUCKET = "KV_"
"""What the names of the streams that hold buckets begin with."""
MOST_LISTED = 1000
"""Nodes that are listed; of more it is said how many there are."""


class Health:
    """Says how a controller is.

    Args:
        jetstream: on the connection to the journal.
        nodes: the connection to the nodes.
    """

    def __init__(
        self,
        jetstream: JetStream,
        nodes: Connection,
        indexer: Indexer,
        fleet: Fleet,
        lists: Lists,
        trail: Trail,
        budget: Budget,
        inventories: Inventories,
    ) -> None:
        self._jetstream = jetstream
        self._nodes = nodes
        self._indexer = indexer
        self._fleet = fleet
        self._lists = lists
        self._trail = trail
        self._budget = budget
        self._inventories = inventories
        self._begun = running()

    @property
    def trouble(self) -> str:
        """Why a pull would not work at this moment, or ""."""
        return next((each.error for each in self.components().values() if each.error), "")

    def components(self) -> dict[str, Component]:
        """Return all that a pull needs, what the rest depends on first."""
        broker, nodes = self._jetstream.connection, self._nodes
        journal = self._jetstream.trouble
        found = {
            "nats": (
                "" if broker.connected else f"the broker is out of reach: {broker.last_error}",
                broker.server,
            ),
            "nodes": (
                "" if nodes.connected else f"the nodes' broker is out of reach: {nodes.last_error}",
                nodes.server,
            ),
            "journal": (
                f"the broker did not store what it was given last: {journal}" if journal else "",
                "",
            ),
            "index": (self._index_trouble(), ""),
            "agents": (self._agents_trouble(), ""),
        }
        return {
            name: Component("error" if error else "ok", error or None, address or None)
            for name, (error, address) in found.items()
        }

    def _index_trouble(self) -> str:
        if self._indexer.trouble or self._indexer.caught_up:
            return self._indexer.trouble
        return "the index is still catching up with the journal"

    def _agents_trouble(self) -> str:
        here = [member for member in self._fleet.here() if member.heartbeat is not None]
        if not here:
            return "no node is reachable"
        troubles = [member.trouble(NODE) for member in here]
        if all(troubles):
            return troubles[0]
        able = [member for member in here if member.can(DOCKER)]
        if not able:
            return "no reachable node has a Docker Engine"
        troubles = [member.trouble(DOCKER) for member in able]
        return troubles[0] if all(troubles) else ""

    async def status(self) -> HealthStatus:
        """Return how everything is; what the broker doesn't answer is left out."""
        components = self.components()
        trouble = next((each.error for each in components.values() if each.error), None)
        streams, consumers = await self._stored()
        members = self._fleet.members()
        few = members if len(members) <= MOST_LISTED else []
        processes = [self._itself(trouble), *(_agent(each) for each in few)]
        return HealthStatus(
            status="degraded" if trouble else "ok",
            components=components,
            version=__version__,
            uptime=show_uptime(running() - self._begun),
            jobs=self._jobs(),
            agents=AgentCounts(
                len(members),
                self._fleet.size,
                [_summary(each) for each in few],
                sum(each.heartbeat.refused for each in self._fleet.here() if each.heartbeat),
                self._budget.dropped.total(),
            ),
            error=trouble,
            nats=self._broker(),
            streams=None
            if streams is None
            else [
                StreamStatus(
                    each.name, each.state.messages, each.state.bytes, each.state.consumer_count
                )
                for each in streams
                if not each.name.startswith(BUCKET)
            ],
            kv_buckets=None
            if streams is None
            else [
                BucketStatus(
                    each.name.removeprefix(BUCKET), each.state.num_subjects, each.state.bytes
                )
                for each in streams
                if each.name.startswith(BUCKET)
            ],
            consumers=consumers,
            registry=processes,
            audit=AuditStatus(self._trail.waiting, self._trail.lost),
            inventories=InventoryCounts(*self._inventories.counts()),
            forged=self._jetstream.seal.refused,
        )

    async def _stored(self) -> tuple[list[StreamInfo] | None, ConsumerCounts | None]:
        """Return what the broker says of streams and who follows them, as far as it answers."""
        if not self._jetstream.connection.connected:
            return None, None
        try:
            streams = await list_streams(self._jetstream)
        except BrokerError:
            return None, None
        try:
            found = await asyncio.gather(
                *(list_consumers(self._jetstream, each.name) for each in streams)
            )
        except BrokerError:
            return streams, None
        listed = [
            ConsumerStatus(each.name, each.num_pending, each.num_ack_pending, each.num_redelivered)
            for consumers in found
            for each in consumers
        ]
        return streams, ConsumerCounts(len(listed), listed)

    def _broker(self) -> BrokerStatus | None:
        broker = self._jetstream.connection
        return BrokerStatus(broker.server, broker.version) if broker.connected else None

    def _jobs(self) -> JobCounts:
        jobs = self._lists.statuses()
        return JobCounts(
            total=sum(jobs.values()),
            unprocessed=jobs.get("submitted", 0),
            processing=jobs.get("processing", 0),
            completed=jobs.get("completed", 0),
            failed=jobs.get("failed", 0) + jobs.get("partial_failure", 0),
            dlq=0,
        )

    def _itself(self, trouble: str | None) -> Process:
        return Process(
            type="controller",
            hostname=socket.gethostname(),
            status="NotReady" if trouble else "Ready",
            age=show_uptime(running() - self._begun),
        )


def _summary(member: Member) -> AgentSummary:
    labels = ",".join(str(label) for label in member.labels)
    return AgentSummary(member.hostname, timestamp(member.registered), labels or None)


def _agent(member: Member) -> Process:
    return Process(
        type="agent",
        hostname=member.hostname,
        status="Ready" if member.here else "NotReady",
        age=show_uptime(time.time() - member.registration.started),
        conditions=[
            name
            for name, each in (
                member.heartbeat.conditions.known.items() if member.heartbeat else ()
            )
            if each.status
        ],
    )
