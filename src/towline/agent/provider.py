"""What brings a capability to a node, and what it is given for each task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from towline.broker.jetstream import JetStream
from towline.runtime.keys import NodeKey
from towline.wire.event import Step
from towline.wire.job import Job
from towline.wire.progress import TaskProgress


class Task(msgspec.Struct, frozen=True):
    """A node's share of a job, as the body of an operation sees it.

    Attributes:
        job: the job.
        step: records a step for the job's timeline; it goes through the ledger.
        progress: sends how many bytes are done. It goes past the ledger: at most two a second are
            sent, and one that is lost costs nothing, since each is whole.
    """

    job: Job
    step: Callable[[Step], None]
    progress: Callable[[TaskProgress], None]


class Context(msgspec.Struct, frozen=True):
    """What a provider is given of the agent that it is part of.

    Attributes:
        jetstream: what the broker stores, and the agent's connection to it.
        machine, hostname: the node's machine id and its name for people.
        key: the node's, to which controllers seal.
    """

    jetstream: JetStream
    machine: str
    hostname: str
    key: NodeKey


class Provider(Protocol):
    """What brings one capability to a node: the machine itself, or something that runs on it.

    Attributes:
        capability: its name; operations require it by that.
    """

    capability: str

    @property
    def offered(self) -> bool:
        """Whether the node has it, working at this moment or not."""

    @property
    def trouble(self) -> str:
        """Why it does not work at this moment, or ""."""

    async def probe(self) -> None:
        """Look again, and update `offered` and `trouble`; raises no `TowlineError` or `OSError`."""

    def serve(self, task: Task) -> object:
        """Return what an operation that requires the capability is given for one task.

        Raises:
            TaskFailed: the node does not have it.
        """

    async def close(self) -> None:
        """Close its connections."""
