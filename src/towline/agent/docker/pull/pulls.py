"""The pulls of a node: each shared by all tasks that want the same."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from towline.agent.docker.engine import Engine
from towline.agent.docker.pull.attempt import Hook
from towline.agent.docker.pull.attempts import Pauses, Pull
from towline.agent.docker.pull.fetching import left_alone
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.progress import PullProgress
from towline.agent.docker.pull.slots import MAX_PULLS, REPORTED_AFTER, Slots, Wait
from towline.agent.docker.pull.steps import DEQUEUED, QUEUED
from towline.agent.provider import Task
from towline.agent.singleflight import Flight, SingleFlight
from towline.errors import TaskFailed
from towline.operations.docker import Pulled
from towline.wire.event import Step
from towline.wire.progress import QUEUED as PHASE_QUEUED
from towline.wire.progress import TaskProgress


class _Member:
    """A task that waits for a pull, and may share it."""

    def __init__(self, task: Task, reported_after: float) -> None:
        self.task = task
        self._reported_after = reported_after
        self._wait: Wait | None = None

    def joined(self, flight: Flight[Order], last: Step | None) -> None:
        """Record what it waits for, where that lasts.

        Args:
            last: the last step of the others of the flight.
        """
        if not flight.begun and flight.behind:
            words = "queued: another pull of this image is under way before it"
            self._wait = Wait(words, self._step, self._reported_after)
        elif last is not None and last.name != DEQUEUED:
            self.task.step(last)

    def begun(self) -> None:
        """Record that the wait is over."""
        if self._wait is not None:
            self._wait.over()

    def left(self) -> None:
        """Record nothing more: it has ended, or was given up."""
        if self._wait is not None:
            self._wait.give_up()

    def _step(self, step: Step) -> None:
        self.task.step(step)
        if step.name == QUEUED:
            self.task.progress(TaskProgress(PHASE_QUEUED, step.message))


class Pulls:
    """Pulls images on one Docker Engine.

    Args:
        hooks: what has a say in each attempt, in this order.
        max_pulls: how many pulls run at a time.
        pauses: what lies between two attempts.
        reported_after: seconds after which a wait for other pulls is recorded.
    """

    def __init__(
        self,
        engine: Engine,
        hooks: Sequence[Hook] = (),
        max_pulls: int = MAX_PULLS,
        *,
        pauses: Pauses | None = None,
        reported_after: float = REPORTED_AFTER,
    ) -> None:
        self._engine = engine
        self._hooks = hooks
        self._slots = Slots(max_pulls, reported_after=reported_after)
        self._pauses = pauses or Pauses()
        self._reported_after = reported_after
        self._flights: SingleFlight[Order] = SingleFlight()
        self._last: dict[Flight[Order], Step] = {}

    async def pull(self, order: Order, task: Task) -> Pulled:
        """Pull an image; return what the engine has then.

        Tasks that want the same image share a pull: one that has not begun, or one under way
        that can't but bring what they want. Otherwise they wait for it to end.

        Raises:
            TaskFailed: it could not be pulled; with the engine's own words.
        """
        if order.policy == "missing":
            # Not only in its turn: a pull of the same name may be under way for hours.
            with contextlib.suppress(TaskFailed):
                found = await self._engine.image(order.name)
                present = left_alone(order, found, self._engine.platform)
                if present is not None:
                    return present
        member = _Member(task, self._reported_after)
        try:
            return await self._flights.join(
                order.name,
                order,
                self._pull,
                serves=lambda flight: _serves(flight, order),
                member=member,
                joined=lambda flight: member.joined(flight, self._last.get(flight)),
            )
        finally:
            member.left()

    async def _pull(self, flight: Flight[Order]) -> Pulled:
        def step(step: Step) -> None:
            self._last[flight] = step
            progress.step(step)
            for member in flight.members:
                member.task.step(step)

        def send(found: TaskProgress) -> None:
            for member in flight.members:
                member.task.progress(found)

        def tasks() -> list[Task]:
            return [member.task for member in flight.members]

        for member in flight.members:
            member.begun()
        progress = PullProgress(send)
        try:
            async with progress:
                return await Pull(
                    *(self._engine, flight.wanted, [progress, *self._hooks], step),
                    *(self._slots, self._pauses, tasks),
                ).run()
        finally:
            self._last.pop(flight, None)


def _serves(flight: Flight[Order], order: Order) -> bool:
    """Whether a pull brings what `order` asks for, in the way in which it asks.

    One under way does if what it pulls can't have become another: a digest, not a tag.
    """
    wanted = flight.wanted
    if order.policy == "always" and wanted.policy != "always":
        return False
    if order.lead is not None and wanted.lead is not None:
        if order.lead.value != wanted.lead.value:
            return False
        # Whoever resolved the tag: it is the same image.
        wanted = msgspec.structs.replace(wanted, lead=order.lead)
    pinned = order.reference.digest is not None or order.lead is not None
    alike = msgspec.structs.replace(wanted, policy=order.policy) == order
    return alike and (not flight.begun or pinned)
