"""The pulls of a node: each shared by all tasks that want the same."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from towline.agent.docker.engine import Engine
from towline.agent.docker.pull import attempts
from towline.agent.docker.pull.attempt import Hook
from towline.agent.docker.pull.attempts import present
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.places import MAX_PULLS, Places, Wait
from towline.agent.docker.pull.progress import Telling
from towline.agent.docker.pull.steps import DEQUEUED, QUEUED
from towline.agent.provider import Task
from towline.agent.singleflight import Flight, SingleFlight
from towline.errors import TaskFailed
from towline.operations.docker import Pulled
from towline.wire import progress
from towline.wire.event import Step
from towline.wire.job import Job
from towline.wire.progress import TaskProgress


class _Member:
    """A task that waits for a pull, and may share it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._wait: Wait | None = None

    def joined(self, round: Flight[Order], last: Step | None) -> None:
        """Say what it waits for, where that lasts.

        Args:
            last: the last step of the others of the round.
        """
        if not round.begun and round.behind:
            words = "queued: another pull of this image is under way before it"
            self._wait = Wait(words, self._step)
        elif last is not None and last.name != DEQUEUED:
            self.task.step(last)

    def begun(self) -> None:
        """Say that the wait is over."""
        if self._wait is not None:
            self._wait.over()

    def left(self) -> None:
        """Say nothing more: it has ended, or was given up."""
        if self._wait is not None:
            self._wait.give_up()

    def _step(self, step: Step) -> None:
        self.task.step(step)
        if step.name == QUEUED:
            self.task.progress(TaskProgress(progress.QUEUED, step.message))


class Pulls:
    """Pulls images on one Docker Engine.

    Args:
        hooks: what has a say in each attempt, in this order.
        most: how many pulls run at a time.
    """

    def __init__(self, engine: Engine, hooks: Sequence[Hook] = (), most: int = MAX_PULLS) -> None:
        self._engine = engine
        self._hooks = hooks
        self._places = Places(most)
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
                if found is not None:
                    return present(order, found)
        member = _Member(task)
        try:
            return await self._flights.join(
                order.name,
                order,
                self._pull,
                serves=lambda round: _serves(round, order),
                member=member,
                joined=lambda round: member.joined(round, self._last.get(round)),
            )
        finally:
            member.left()

    async def _pull(self, round: Flight[Order]) -> Pulled:
        def step(step: Step) -> None:
            self._last[round] = step
            telling.step(step)
            for member in round.members:
                member.task.step(step)

        def jobs() -> list[Job]:
            return [member.task.job for member in round.members]

        def report(report: TaskProgress) -> None:
            for member in round.members:
                member.task.progress(report)

        for member in round.members:
            member.begun()
        telling = Telling(report)
        try:
            async with telling:
                hooks = [telling, *self._hooks]
                return await attempts.pull(
                    self._engine, round.wanted, hooks, step, self._places, jobs
                )
        finally:
            self._last.pop(round, None)


def _serves(round: Flight[Order], order: Order) -> bool:
    """Whether a pull brings what `order` asks for, in the way in which it asks.

    One under way does if what it pulls can't have become another: a digest, not a tag.
    """
    wanted = round.wanted
    if order.policy == "always" and wanted.policy != "always":
        return False
    if order.lead is not None and wanted.lead is not None:
        if order.lead.value != wanted.lead.value:
            return False
        # Whoever resolved the tag: it is the same image.
        wanted = msgspec.structs.replace(wanted, lead=order.lead)
    pinned = order.reference.digest is not None or order.lead is not None
    alike = msgspec.structs.replace(wanted, policy=order.policy) == order
    return alike and (not round.begun or pinned)
