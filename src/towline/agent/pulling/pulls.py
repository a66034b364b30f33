"""The pulls of a node: each shared by all tasks that want the same."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

import msgspec

from towline.agent.engine import Engine
from towline.agent.pulling import attempts
from towline.agent.pulling.attempts import Image, Order, Step, present
from towline.agent.pulling.telling import Telling
from towline.agent.together import Round, Together
from towline.errors import TaskFailed
from towline.progress import Report


class Listener(Protocol):
    """Who is told how a pull goes on: the node as one task has it."""

    def note(self, kind: str, message: str) -> None:
        """Take a step of the pull, for the job's timeline."""

    def report(self, report: Report) -> None:
        """Take how far the pull is, for those who look on."""


class Pulls:
    """Pulls images on one Docker Engine.

    Args:
        steps: what has a say in each attempt, in this order.
    """

    def __init__(self, engine: Engine, steps: Sequence[Step] = ()) -> None:
        self._engine = engine
        self._steps = steps
        self._together: Together[Order] = Together()

    async def pull(self, order: Order, listener: Listener) -> Image:
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
        return await self._together.join(
            order.name,
            order,
            self._pull,
            serves=lambda round: _serves(round, order),
            member=listener,
        )

    async def _pull(self, round: Round[Order]) -> Image:
        def note(kind: str, message: str) -> None:
            for listener in round.members:
                listener.note(kind, message)

        def report(report: Report) -> None:
            for listener in round.members:
                listener.report(report)

        async with Telling(report) as telling:
            steps = [telling, *self._steps]
            return await attempts.pull(self._engine, round.wanted, steps, note)


def _serves(round: Round[Order], order: Order) -> bool:
    """Whether a pull brings what `order` asks for, in the way in which it asks.

    One under way does if what it pulls can't have become another: a digest, not a tag.
    """
    alike = msgspec.structs.replace(round.wanted, policy=order.policy) == order
    if order.policy == "always":
        alike = alike and round.wanted.policy == "always"
    return alike and (not round.begun or order.reference.digest is not None)
