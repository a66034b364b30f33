"""One attempt of a pull, and what has a say in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from towline.agent.docker.pull.faults import Fault
from towline.agent.docker.pull.layers import Layers
from towline.agent.docker.pull.order import Order
from towline.agent.provider import Task
from towline.errors import TaskFailed, TowlineError
from towline.wire.cooldown import Cooldown
from towline.wire.credential import Credential
from towline.wire.event import Lead, Step
from towline.wire.release import Release


class Login(msgspec.Struct, frozen=True):
    """What an attempt logs in to the registry with.

    Attributes:
        credential: None for nothing.
        source: where it comes from, in words.
        trouble: why one that there may be was not found, or "".
    """

    registry: str
    credential: Credential | None = None
    source: str = ""
    trouble: str = ""


class Reply(msgspec.Struct, frozen=True):
    """What controllers have said of a pull.

    Attributes:
        moment: when, in seconds since 1970, by their clock.
        release: of a task that shares the pull; None where there was no answer.
        error: why there was none.
    """

    moment: float
    release: Release | None = None
    error: TowlineError | None = None


class Attempt:
    """One attempt of a pull, as its hooks see it.

    Attributes:
        order: what is asked.
        number: 1 for the first.
        auth: what the engine is to log in to the registry with, in the form of the Docker Engine
            API (`AuthConfig`); None for nothing.
        layers: those that the engine has named so far.
        login: what `auth` is made of, and where that comes from.
        lead: whose value is the digest to pull in place of the tag, which the image gets
            afterwards; None for what is asked.
        cooldown: the last one of its registry that it has waited for, or that was over; None for
            none.
        reply: what controllers have said last; None where that isn't to count any more.
        asks: whether controllers are asked even where a task has just been released.
        step: records a step in the timelines of all jobs that share the pull.
        tasks: returns the tasks that share it; they come and go while it is under way.
    """

    def __init__(
        self,
        order: Order,
        number: int,
        step: Callable[[Step], None],
        tasks: Callable[[], list[Task]] = list,
        *,
        lead: Lead | None = None,
        asks: bool = False,
    ) -> None:
        self.order = order
        self.number = number
        self.auth: dict[str, str] | None = None
        self.layers = Layers(time.monotonic())
        self.login: Login | None = None
        self.lead = lead or order.lead
        self.cooldown: Cooldown | None = None
        self.reply: Reply | None = None
        self.asks = asks
        self.step = step
        self.tasks = tasks

    def outdate(self) -> None:
        """Have controllers asked anew: what they have said may be another by now."""
        self.reply, self.asks = None, True


class Hook:
    """What has a say in each attempt; a method that isn't overridden has none."""

    async def ready(self, attempt: Attempt) -> None:
        """Called before all else, and before a slot for pulls is taken: may wait for long.

        Raises:
            TaskFailed: as `before`.
        """

    def allows(self, attempt: Attempt) -> bool:
        """Return whether it may begin now that it has its slot; if not, `ready` is called again."""
        return True

    async def prepare(self, attempt: Attempt) -> None:
        """Called before it is looked at what is there already, and again after a wait for a slot:
        may set `auth` and `lead`; raises as `before`."""

    async def before(self, attempt: Attempt) -> None:
        """Called in its slot, before the engine is asked to pull.

        Raises:
            TaskFailed: the attempt has failed; `Hopeless` if no other is to be made.
        """

    def during(self, attempt: Attempt, message: dict[str, Any]) -> None:
        """Called with each of the engine's progress messages; raises as `before` to stop it."""

    async def watch(self, attempt: Attempt) -> None:
        """Runs beside the engine's pull, and is cancelled at its end; raises as `before`."""

    async def fetched(self, attempt: Attempt, digest: str | None) -> None:
        """Called when the engine has pulled a tag: may set `lead`, whose digest it pulls then.

        Args:
            digest: what the tag was, where the engine has said so.
        """

    def explain(self, attempt: Attempt, error: TaskFailed) -> TaskFailed:
        """Return a failure in the words, and of the kind, in which it is to be reported."""
        return error

    async def failed(self, attempt: Attempt, fault: Fault) -> None:
        """Called when an attempt has failed, before the pause."""
