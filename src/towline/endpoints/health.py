"""`/health`, `/version`: whether the controller is alive, whether a job would work, what it is."""

from __future__ import annotations

from typing import Annotated

import msgspec

from towline import __version__
from towline.endpoint import Context, endpoint
from towline.endpoints.fields import View, one_of


class Version(msgspec.Struct, frozen=True):
    """The version of the controller that answers."""

    version: str


class Component(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that a pull needs.

    Attributes:
        error: why it doesn't work at this moment; absent where it does.
        address: where it is.
    """

    status: Annotated[str, one_of("ok", "error")]
    error: str | None = None
    address: str | None = None


class BrokerStatus(msgspec.Struct, frozen=True):
    """The broker's server that the controller is connected to."""

    url: str
    version: str


class StreamStatus(msgspec.Struct, frozen=True):
    """A stream of the broker's; `consumers` are those who follow it."""

    name: str
    messages: int
    bytes: int
    consumers: int


class BucketStatus(msgspec.Struct, frozen=True):
    """A bucket of keys and values at the broker."""

    name: str
    keys: int
    bytes: int


class JobCounts(msgspec.Struct, frozen=True):
    """How many jobs are kept.

    Attributes:
        unprocessed: of which no node has begun.
        failed: that have failed on all nodes, or on some.
        dlq: always 0: no job is ever put aside.
    """

    total: int
    unprocessed: int
    processing: int
    completed: int
    failed: int
    dlq: int


class AgentSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node: its labels as `key:value`, with commas between, and when it first registered."""

    hostname: str
    registered: str
    labels: str | None = None


class AgentCounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many nodes are registered, and here; which, unless they are too many for that.

    Attributes:
        refused: how many messages those that are here have not believed since their agents began.
        dropped: how many messages of nodes the controller that answers has not read, since these
            sent more than a node may.
    """

    total: int
    ready: int
    agents: list[AgentSummary] = []
    refused: int = 0
    dropped: int = 0


class ConsumerStatus(msgspec.Struct, frozen=True):
    """Who follows a stream: a controller, one of its parts.

    Attributes:
        pending: messages that it has not been sent yet.
        ack_pending: messages that it was sent and has not acknowledged, where it does that.
    """

    name: str
    pending: int
    ack_pending: int
    redelivered: int


class ConsumerCounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who follows the streams."""

    total: int
    consumers: list[ConsumerStatus] = []


class Process(msgspec.Struct, frozen=True, omit_defaults=True):
    """A process of Towline's: the controller that answers, or an agent.

    Attributes:
        conditions: what an agent's node is short of.
        age: how long ago it was started, by its own clock.
    """

    type: Annotated[str, one_of("controller", "agent")]
    hostname: str
    status: Annotated[str, one_of("Ready", "NotReady")]
    age: str
    conditions: list[str] = []


class InventoryCounts(msgspec.Struct, frozen=True):
    """What the controller that answers knows of the images on nodes.

    Attributes:
        known: of how many nodes it knows what they have.
        settled: of how many of these that is what they have said last.
        asked: how often it has asked a node for all that it has.
        images: how many there are, those that are alike once.
    """

    known: int
    settled: int
    asked: int
    images: int


class AuditStatus(msgspec.Struct, frozen=True):
    """The audit at the controller that answers.

    Attributes:
        waiting: entries that are not stored yet.
        lost: requests that have no entry, since too many waited while the broker was away.
    """

    waiting: int
    lost: int


class HealthStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the controller that answers is, and what it works with.

    Attributes:
        status: degraded where something doesn't work that a pull needs; the answer is a 503 then.
        error: the first of what doesn't work.
        nats, streams, kv_buckets, consumers: absent while the broker doesn't answer.
        registry: the controller that answers and, unless they are too many, the agents.
        forged: how often the controller that answers has read something at the broker, as a job or
            as what is kept of nodes, that no controller of the fleet had stored there; what stays
            there is read again now and then.
    """

    status: Annotated[str, one_of("ok", "degraded")]
    components: dict[str, Component]
    version: str
    uptime: str
    jobs: JobCounts
    agents: AgentCounts
    registry: list[Process]
    error: str | None = None
    nats: BrokerStatus | None = None
    streams: list[StreamStatus] | None = None
    kv_buckets: list[BucketStatus] | None = None
    consumers: ConsumerCounts | None = None
    audit: AuditStatus | None = None
    inventories: InventoryCounts | None = None
    forged: int = 0


class Health(View, frozen=True, kw_only=True):
    """Whether something is well, and if not, why."""

    status: str
    error: str | None = None


@endpoint("health.get", "GET /health", open=True, command=None)
async def alive(context: Context) -> Health:
    """Whether the controller is alive."""
    return Health(status="ok")


@endpoint("health.ready", "GET /health/ready", open=True, success=(200, 503), command=None)
async def ready(context: Context) -> Health:
    """Whether a pull would work; if not, 503 and why."""
    trouble = context.controller.health.trouble
    if trouble:
        context.status = 503
        return Health(status="not ready", error=trouble)
    return Health(status="ready")


@endpoint(
    "health.status",
    "GET /health/status",
    permission="health:read",
    success=(200, 503),
    command=None,
    typed="health",
)
async def status(context: Context) -> HealthStatus:
    """How the controller is, and all that it works with.

    The answer is a 503 where a pull would not work; it has the same body.
    """
    found = await context.controller.health.status()
    if found.status != "ok":
        context.status = 503
    return found


@endpoint("version.get", "GET /version", open=True, command=None)
async def version(context: Context) -> Version:
    """The version of the controller."""
    return Version(__version__)
