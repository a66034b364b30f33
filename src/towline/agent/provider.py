"""What brings a capability to a node, and what it is given for each task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from towline.runtime.keys import NodeKey
from towline.wire.cooldown import Cooldown
from towline.wire.event import Lead, Step
from towline.wire.job import Job
from towline.wire.progress import TaskProgress
from towline.wire.release import Release


class Questions(Protocol):
    """What a node may ask controllers of a task while it is under way."""

    async def task(self, job_id: str) -> Release:
        """Return the release of this node's task of a job, with what is in force by now.

        Raises:
            BrokerUnreachable: nobody answered.
            TaskFailed: it is refused for good.
        """

    async def cooldown(
        self, job_id: str, *, reason: str, known: float | None, asked: float | None
    ) -> Cooldown | None:
        """Say that there were too many requests; return the cooldown that is in force then.

        Args:
            reason: in the words of whoever refused.
            known: when the last cooldown began that was known when the request was made; None for
                none.
            asked: seconds that whoever refused wants to be left alone; None where it doesn't say.

        Raises:
            BrokerUnreachable: nobody answered.
        """


class Task(msgspec.Struct, frozen=True):
    """A node's share of a job, as the body of an operation sees it.

    Attributes:
        job: the job.
        release: with which the task was given to the node.
        fresh: whether a controller has just sent the release. One from the ledger has neither the
            credential nor the cooldown.
        step: records a step for the job's timeline; it goes through the ledger.
        progress: sends how many bytes are done. It goes past the ledger: at most two a second are
            sent, and one that is lost costs nothing, since each is whole.
        found: for a task that leads: reports what it found, and returns the lead that is stored.
            None for others.
    """

    job: Job
    release: Release
    fresh: bool
    step: Callable[[Step], None]
    progress: Callable[[TaskProgress], None]
    found: Callable[[str], Awaitable[Lead]] | None = None


class Context(msgspec.Struct, frozen=True):
    """What a provider is given of the agent that it is part of.

    Attributes:
        machine, hostname: the node's machine id and its name for people.
        key: the node's, to which controllers seal.
        questions: what may be asked of controllers.
        now: returns seconds since 1970, by the controllers' clock.
    """

    machine: str
    hostname: str
    key: NodeKey
    questions: Questions
    now: Callable[[], float]


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
