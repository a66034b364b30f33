"""How far sets are, in sum: for whoever asks, however often."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TypeAlias

import msgspec

from towline.controller.fleet import Fleet
from towline.controller.sets.record import SetRecord, SetState
from towline.controller.sets.sets import MOST_SETS, Sets
from towline.controller.sets.standing import Standing
from towline.controller.sets.view import Standings

MOST_FAILURES = 5
"""Nodes that failed, of each image, that a sum has."""
TOGETHER = 500
"""Nodes that are looked at before others have their turn: some 6 ms."""
SHARE, LONGEST = 10.0, 5.0
"""A sum that took so long to make is good for ten times as long, and for so many seconds at most:
those who wait for a set ask again and again, and of 10,000 nodes and two images it takes 0.25 s."""

Key: TypeAlias = tuple[str, str]
"""An image of a set, and its platform."""


class Summary(msgspec.Struct):
    """How far a set is, in sum.

    Attributes:
        state: how far it was then, as it is kept.
        nodes: how many nodes its target means.
        counts: of each image, how many nodes stand how.
        failures: of each image, the first nodes that failed.
        waits: whether it is not known of a node that is here what it has, or ought to have.
    """

    state: SetState
    nodes: int = 0
    counts: dict[Key, Counter[str]] = {}
    failures: dict[Key, list[Standing]] = {}
    waits: bool = False


class _Kept:
    """The last sum of a set, and whose turn it is to make the next."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.record: SetRecord | None = None
        self.summary = Summary(SetState(""))
        self.until = 0.0


class Summaries:
    """Sums up where nodes stand against sets."""

    def __init__(self, sets: Sets, fleet: Fleet, standings: Standings) -> None:
        self._sets = sets
        self._fleet = fleet
        self._standings = standings
        self._kept: dict[str, _Kept] = {}

    async def of(self, record: SetRecord) -> Summary:
        """Return how far a set is; of a large fleet perhaps as it was a moment ago."""
        kept = self._kept.get(record.name)
        if kept is None:
            if len(self._kept) > MOST_SETS:
                self._kept = {name: each for name, each in self._kept.items() if each.turn.locked()}
            kept = self._kept.setdefault(record.name, _Kept())
        loop = asyncio.get_running_loop()
        async with kept.turn:
            state = self._sets.state(record.name)
            same = kept.record == record and kept.summary.state == state
            if not same or loop.time() >= kept.until:
                begun = loop.time()
                kept.summary, kept.record = await self._summed_up(record, state), record
                took = loop.time() - begun
                kept.until = begun + took + min(SHARE * took, LONGEST)
            return kept.summary

    async def _summed_up(self, record: SetRecord, state: SetState) -> Summary:
        found = Summary(state)
        nodes: set[str] = set()
        for count, standing in enumerate(self._standings.of(record, state)):
            if count % TOGETHER == TOGETHER - 1:
                await asyncio.sleep(0)
            key = standing.image, standing.platform
            nodes.add(standing.machine)
            found.counts.setdefault(key, Counter())[standing.state] += 1
            if standing.state == "unknown":
                found.waits = found.waits or self._fleet.is_here(standing.machine)
            elif standing.state == "failed":
                failed = found.failures.setdefault(key, [])
                if len(failed) < MOST_FAILURES:
                    failed.append(standing)
        found.nodes = len(nodes)
        return found
