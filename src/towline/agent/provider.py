"""What brings a capability to a node, and what it is given for each task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

import msgspec

from towline.runtime.keys import NodeKey
from towline.wire.cooldown import Cooldown
from towline.wire.event import Lead, Step
from towline.wire.inventory import Inventory
from towline.wire.job import Job
from towline.wire.progress import TaskProgress
from towline.wire.release import Release


class Questions(Protocol):
    """What a node may ask controllers."""

    async def task(self, job_id: str) -> Release:
        """Return a task of this node's anew, with all that is in force by now.

        Raises:
            BrokerUnreachable: nobody answers.
            TaskFailed: the controllers refuse it for good.
        """

    async def cooldown(
        self, job_id: str, *, reason: str, known: float | None, asked: float | None
    ) -> Cooldown | None:
        """Report that this node was refused for too many requests; return the cooldown in force.

        Args:
            job_id: for which it asked.
            reason: in the words of whoever refused.
            known: when the last cooldown began that the node knew of when it asked.
            asked: seconds that whoever refused wants to be left alone, where it says so.

        Raises:
            BrokerUnreachable: nobody answers.
        """


class Task(msgspec.Struct, frozen=True):
    """A node's share of a job, as the body of an operation sees it.

    Attributes:
        job: the job.
        release: with which the task came.
        fresh: whether a controller has just sent that; otherwise it is the ledger's, and has
            neither a credential nor a cooldown.
        step: records a step for the job's timeline; it goes through the ledger.
        progress: sends how many bytes are done. It goes past the ledger: at most two a second are
            sent, and one that is lost costs nothing, since each is whole.
        found: for a task that leads, reports what it has found and returns the lead that is stored,
            which may be another node's; waits for that as long as it takes. Raises TaskFailed where
            the controllers refuse it. None for other tasks.
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
        questions: what it may ask controllers.
        now: returns seconds since 1970, by the controllers' clock.
        start: what the agent has drawn at this start.
    """

    machine: str
    hostname: str
    key: NodeKey
    questions: Questions
    now: Callable[[], float]
    start: str


class HeldInventory(Protocol):
    """What of a provider's is on the node, as it changes; see `towline.wire.inventory`."""

    @property
    def hash(self) -> str:
        """That of the whole; "" where it isn't known yet."""

    def whole(self) -> list[Inventory]:
        """Return the messages with all that is known; none where nothing is known yet."""

    async def follow(self, changed: Callable[[Inventory], Awaitable[None]]) -> None:
        """Find out what there is, for ever.

        Args:
            changed: awaited with each message about what is new; first with all of the whole. What
                it is given may get lost on its way.
        """


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


@runtime_checkable
class Stocked(Provider, Protocol):
    """A provider of which there is an inventory; of a node's there is one at most.

    Attributes:
        inventory: of what is on the node.
    """

    inventory: HeldInventory
