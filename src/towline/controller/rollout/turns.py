"""Which nodes of a job have had their turn, as its plan and its events have made it. Pure."""

from __future__ import annotations

import msgspec

FAILURES = ("failed", "expired")
"""How a node that had its turn may end to count as a failure; one that skips the job does not."""


class Pause(msgspec.Struct, frozen=True):
    """That no more nodes of a job are released.

    Attributes:
        by: who said so.
        since: seconds since 1970.
    """

    by: str
    since: float


class Turn(msgspec.Struct):
    """The turn of a node that has not ended.

    Attributes:
        since: when it was given, in seconds since 1970.
        until: past which moment the node doesn't begin it, where that is before the job expires.
        leave: whether it has leave to begin.
        begun: whether it is known to have begun.
    """

    since: float
    until: float | None = None
    leave: bool = False
    begun: bool = False


class Turns:
    """Which nodes of a job have had their turn.

    Attributes:
        total: how many nodes the job is for, but those that were refused from the beginning.
        waiting: the machine ids of those that have no turn, in the order of the plan.
        under_way: those that have, and have not ended.
        canaries: of those that went first: how they ended, None for not yet.
        leading: those that went first to find what all others are given, and since when.
        failed: how many of those that had their turn failed.
        missed: how many never had theirs until the job expired.
        paused: since when and by whom no more are released.
        timed: whether a turn of it has ended, or ends, before the job expires.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.waiting: dict[str, None] = {}
        self.under_way: dict[str, Turn] = {}
        self.canaries: dict[str, str | None] = {}
        self.leading: dict[str, float] = {}
        self.failed = self.missed = 0
        self.paused: Pause | None = None
        self.timed = False

    def wait(self, machine: str) -> None:
        """Learn that a node has no turn yet."""
        self.waiting.setdefault(machine)

    def release(
        self,
        machine: str,
        moment: float,
        *,
        until: float | None = None,
        canary: bool = False,
        leads: bool = False,
    ) -> None:
        """Learn that a node has its turn."""
        self.waiting.pop(machine, None)
        self.under_way.setdefault(machine, Turn(moment, until))
        self.timed = self.timed or until is not None
        if canary:
            self.canaries[machine] = None
        if leads:
            self.leading[machine] = moment

    def take_back(self, machine: str) -> bool:
        """Learn that a node has its turn no more; return whether it had one to lose."""
        turn = self.under_way.get(machine)
        if turn is None or turn.leave:
            return False
        del self.under_way[machine]
        self.canaries.pop(machine, None)
        self.leading.pop(machine, None)
        self.waiting.setdefault(machine)
        return True

    def begin(self, machine: str, *, leave: bool = False) -> None:
        """Learn that a node has begun, or has leave to."""
        turn = self.under_way.get(machine)
        if turn is not None:
            turn.begun = True
            turn.leave = turn.leave or leave

    def end(self, machine: str, status: str) -> None:
        """Learn how a node has ended; it ends once."""
        self.missed += machine in self.waiting and status == "expired"
        self.waiting.pop(machine, None)
        if self.under_way.pop(machine, None) is not None:
            self.failed += status in FAILURES
            if machine in self.canaries:
                self.canaries[machine] = status

    @property
    def tried(self) -> int:
        """How many canaries have run to an end; one that skipped the job has proven nothing."""
        return sum(status not in (None, "skipped") for status in self.canaries.values())
