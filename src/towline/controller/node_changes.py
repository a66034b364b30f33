"""Which nodes have changed since somebody last asked, so that whoever watches is sent no others."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from towline.controller.fleet import Fleet
from towline.controller.member import Member

LOOK_EVERY = 1.0
"""Seconds between looks at the nodes, however many watch: a look at 10,000 takes 7 ms."""
MOST_GONE = 10_000
"""Removed nodes that are remembered: whoever has asked before they went is sent the whole list."""


class Changed(msgspec.Struct, frozen=True):
    """What is another than it was.

    Attributes:
        machines: the machine ids of nodes that have come, or changed.
        gone: those of nodes that are registered no more.
    """

    machines: list[str]
    gone: list[str]


class _Seen:
    """A node as it was at the last look.

    Attributes:
        mark: what lists show of it.
        version: that of its last change.
    """

    __slots__ = (
        *("dropped", "heartbeat", "here", "mark", "record", "registration", "state", "version"),
    )

    def __init__(self, mark: tuple[Any, ...], version: int) -> None:
        self.mark = mark
        self.version = version

    def saw(self, member: Member, dropped: int) -> None:
        """Remember what a node is made of."""
        self.registration, self.heartbeat = member.registration, member.heartbeat
        self.here, self.state, self.record = member.here, member.state, member.record
        self.dropped = dropped

    def still(self, member: Member, dropped: int) -> bool:
        """Whether a node is made of the same: most are, unless they were heard since."""
        return (
            self.heartbeat is member.heartbeat
            and self.here is member.here
            and self.registration is member.registration
            and self.state is member.state
            and self.record is member.record
            and self.dropped == dropped
            and member.second is None
        )


class NodeChanges:
    """Finds out what has changed about nodes, by looking at them when somebody asks.

    What counts is what lists show: names, labels, states, troubles. Heartbeats that say nothing new
    don't, nor do facts. Nothing is kept or done where nobody asks.

    Args:
        dropped: how many messages of each node were dropped, by its machine id.
        second_for: seconds for which a second agent is shown that was refused.
        every, most_gone: see `LOOK_EVERY` and `MOST_GONE`.
        clock: the present moment in seconds.
    """

    def __init__(
        self,
        fleet: Fleet,
        dropped: Mapping[str, int],
        *,
        second_for: float = 60.0,
        every: float = LOOK_EVERY,
        most_gone: int = MOST_GONE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._dropped = dropped
        self._second_for = second_for
        self._every = every
        self._most_gone = most_gone
        self._clock = clock
        # Another controller, and another start of this one, counts from elsewhere.
        self._start = secrets.token_hex(4)
        self._version = 0
        self._looked: float | None = None
        self._seen: dict[str, _Seen] = {}
        self._gone: dict[str, int] = {}
        self._forgotten = 0

    def cursor(self) -> str:
        """Return what `since` takes, for all that changes from now on."""
        self._look()
        return f"{self._start}-{self._version}"

    def since(self, cursor: str) -> Changed | None:
        """Return what has changed since a cursor was given.

        Returns:
            that; None where it isn't known, since the cursor is another controller's, or too old.
        """
        self._look()
        start, _, text = cursor.partition("-")
        if start != self._start or not text.isascii() or not text.isdigit():
            return None
        version = int(text[:20])
        if not self._forgotten <= version <= self._version:
            return None
        if version == self._version:
            return Changed([], [])
        return Changed(
            [machine for machine, seen in self._seen.items() if seen.version > version],
            [machine for machine, gone in self._gone.items() if gone > version],
        )

    def _look(self) -> None:
        now = self._clock()
        if self._looked is not None and now - self._looked < self._every:
            return
        self._looked = now
        version = self._version + 1
        members = self._fleet.members()
        for member in members:
            machine = member.registration.machine
            seen, dropped = self._seen.get(machine), self._dropped.get(machine, 0)
            if seen is not None and seen.still(member, dropped):
                continue
            mark = self._mark(member, dropped)
            if seen is None or seen.mark != mark:
                seen = self._seen[machine] = _Seen(mark, version)
                self._gone.pop(machine, None)
                self._version = version
            seen.saw(member, dropped)
        if len(self._seen) > len(members):
            for machine in self._seen.keys() - {member.machine for member in members}:
                del self._seen[machine]
                self._gone[machine] = self._version = version
            while len(self._gone) > self._most_gone:
                oldest = next(iter(self._gone))
                self._forgotten = max(self._forgotten, self._gone.pop(oldest))

    def _mark(self, member: Member, dropped: int) -> tuple[Any, ...]:
        """Return all that lists show of a node, but for when it was heard."""
        registration, beat, second = member.registration, member.heartbeat, member.second
        said = None
        if beat is not None:
            short = tuple(name for name, each in beat.conditions.known.items() if each.status)
            said = (beat.capabilities, bool(beat.running), short, beat.refused)
        return (
            *(registration.hostname, registration.version, registration.labels, member.here),
            *(member.state, member.record, said, dropped),
            second is not None and second.age < self._second_for,
        )
