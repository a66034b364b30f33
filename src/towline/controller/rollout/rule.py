"""The rule that gives the nodes of a job their turns. Pure: it keeps nothing and asks nobody."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from towline.wire.rollout import CANARY, MAX_FAILURES, MAX_PARALLEL, Waves, read_share

FAILURES = ("failed", "expired")
"""How a node that was released may end to count as a failure; one that skips the job does not."""


class Limits(msgspec.Struct, frozen=True):
    """What a job's waves come to for so many nodes.

    Attributes:
        total: how many nodes it is for.
        parallel: how many may be under way at a time.
        canary: how many go first, alone; 0 for none.
        failures: how many may fail; None for any number.
    """

    total: int
    parallel: int
    canary: int
    failures: int | None


def limits(waves: Waves, total: int) -> Limits:
    """Return the limits for `total` nodes.

    Percentages are rounded down, so on the careful side; `max_parallel` and `canary` to 1 at least.
    """

    def count(name: str, text: str) -> int:
        number, percent = read_share(name, text)
        return number * total // 100 if percent else number

    parallel, canary, failures = waves.max_parallel, waves.canary, waves.max_failures
    return Limits(
        total=total,
        parallel=total if parallel is None else max(1, count(MAX_PARALLEL, parallel)),
        canary=0 if canary is None else min(total, max(1, count(CANARY, canary))),
        failures=None if failures is None else count(MAX_FAILURES, failures),
    )


class Pause(msgspec.Struct, frozen=True):
    """That no more nodes of a job are released.

    Attributes:
        by: who said so.
        since: seconds since 1970.
    """

    by: str
    since: float


class Turns:
    """Which nodes of a job have had their turn, as its events have made it.

    Attributes:
        waiting: the machine ids of those that have not, in the order of the plan.
        under_way: of those that were released and have not ended: whether they are known to
            have begun.
        canaries: of those that went first: how they ended, None for not yet.
        failed: how many of the released ones failed.
        paused: since when and by whom no more are released.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, None] = {}
        self.under_way: dict[str, bool] = {}
        self.canaries: dict[str, str | None] = {}
        self.failed = 0
        self.paused: Pause | None = None
        self._meant: set[str] = set()
        self._released: set[str] = set()
        self._begun: set[str] = set()
        self._ended: dict[str, str] = {}

    @property
    def total(self) -> int:
        """How many nodes the job is for, but those that were refused from the beginning."""
        return len(self._meant)

    def plan(self, machine: str) -> None:
        """Learn that the job is for a node."""
        self._meant.add(machine)
        if machine not in self._released and machine not in self._ended:
            self.waiting.setdefault(machine)

    def release(self, machine: str, *, canary: bool) -> None:
        """Learn that a node has its turn."""
        if machine in self._released:
            return
        self._released.add(machine)
        self.waiting.pop(machine, None)
        status = self._ended.get(machine)
        if canary:
            self.canaries[machine] = status
        if status is None:
            self.under_way[machine] = machine in self._begun
        else:
            self.failed += status in FAILURES

    def begin(self, machine: str) -> None:
        """Learn that a node has begun."""
        self._begun.add(machine)
        if machine in self.under_way:
            self.under_way[machine] = True

    def end(self, machine: str, status: str) -> None:
        """Learn how a node has ended; it ends once."""
        self._ended[machine] = status
        self.waiting.pop(machine, None)
        if machine in self._released:
            self.under_way.pop(machine, None)
            self.failed += status in FAILURES
            if machine in self.canaries:
                self.canaries[machine] = status

    @property
    def tried(self) -> int:
        """How many canaries have run to an end; one that skipped the job has proven nothing."""
        return sum(status not in (None, "skipped") for status in self.canaries.values())


class Decision(msgspec.Struct, frozen=True):
    """What is to be done now.

    Attributes:
        release: machine ids of nodes whose turn it is.
        canary: whether these go first, alone.
        withhold: by machine id, with status and reason: those that will never have a turn.
    """

    release: list[str] = []
    canary: bool = False
    withhold: dict[str, tuple[str, str]] = {}


def decide(
    turns: Turns,
    limits: Limits,
    *,
    here: Callable[[str], bool],
    refused: Callable[[str], tuple[str, str] | None],
    over: tuple[str, str] | None = None,
) -> Decision:
    """Return which nodes have their turn now, and which will never have one.

    A node that is away neither gets a turn nor delays those behind it. One that went away after
    its release gives its place to another, unless it has begun: then it may still be at it.

    Args:
        here: whether a node is here.
        refused: status and reason of a node that is to have no turn when it comes to it.
        over: where no node is to have a turn any more, the status that they end with, and why.
    """
    if not turns.waiting:
        return Decision()
    if over is None and (reason := stopped(turns, limits)) is not None:
        over = "cancelled", reason
    if over is not None:
        return Decision(withhold=dict.fromkeys(turns.waiting, over))
    if turns.paused is not None:
        return Decision()
    tried = turns.tried
    canary = tried < limits.canary
    places = limits.total
    if canary or limits.parallel < limits.total:
        taken = [machine for machine, begun in turns.under_way.items() if begun or here(machine)]
        places = limits.parallel - len(taken)
        if canary:
            going = sum(machine in turns.canaries for machine in taken)
            places = min(places, limits.canary - tried - going)
    release: list[str] = []
    withhold: dict[str, tuple[str, str]] = {}
    for machine in turns.waiting:
        if len(release) >= places:
            break
        why = refused(machine)
        if why is not None:
            withhold[machine] = why
        elif here(machine):
            release.append(machine)
    return Decision(release, canary and bool(release), withhold)


def stopped(turns: Turns, limits: Limits) -> str | None:
    """Return why too much has failed for any more node to be released, or None."""
    if limits.failures is None:
        failed = sum(status in FAILURES for status in turns.canaries.values())
        if not failed:
            return None
        return f"cancelled: {failed} of {limits.canary} canary nodes failed"
    if turns.failed <= limits.failures:
        return None
    return (
        f"cancelled: {turns.failed} of {limits.total} nodes failed, "
        f"more than max_failures={limits.failures}"
    )


def waits_for(turns: Turns, limits: Limits) -> tuple[str, str]:
    """Return what the nodes that wait wait for: the option's name, or "paused", and a sentence."""
    if turns.tried < limits.canary:
        return CANARY, "waits for the canary"
    return MAX_PARALLEL, f"waits: {limits.parallel} at a time"
