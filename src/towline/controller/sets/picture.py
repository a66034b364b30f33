"""Where the nodes stand against one set, kept while it changes: those that stand well are left out.

To look at each node each second would take a core of a large fleet. So nodes are looked at when
something has changed about them, and all of them only when that is so of the set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from towline.controller.fleet import Fleet
from towline.controller.sets.attempts import Attempts, Brings
from towline.controller.sets.pruning import is_unused
from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.controller.sets.rule import Facts
from towline.controller.sets.standing import Standing, images, obstacle_of, pulled, stand
from towline.controller.sets.view import View

SLICE = 100
"""Nodes that are looked at before others have their turn: it takes a millisecond or so."""


class Picture:
    """Where the nodes stand against a set, as far as not all is well with them.

    Attributes:
        rows: by image and platform, then by machine id.
        troubled: the machine ids of those that are here, and to which nothing can be brought.
        pruned_until: before when nobody looks again for what is to go, in seconds since the machine
            was started.
        is_new: whether the set wants something else since that was decided.

    Args:
        fleet: the nodes.
        attempts: learns which nodes have what was brought to them.
    """

    def __init__(self, fleet: Fleet, attempts: Attempts) -> None:
        self._fleet = fleet
        self._attempts = attempts
        self._wants: tuple[object, ...] = ()
        self._images: list[ImageState] = []
        self._members: frozenset[str] = frozenset()
        self._version = -1
        self.rows: dict[tuple[str, str], dict[str, Standing]] = {}
        self.troubled: set[str] = set()
        self.pruned_until = 0.0
        self.is_new = True

    @property
    def members(self) -> frozenset[str]:
        """The machine ids of the nodes that the set means."""
        return self._members

    async def look(
        self,
        record: SetRecord,
        state: SetState,
        view: View,
        changed: Collection[str],
        now: float,
        *,
        again: bool,
    ) -> bool:
        """Look at the nodes of which something has changed; return whether there was any.

        Args:
            changed: their machine ids.
            now: seconds since 1970.
            again: whether to look at all that do not stand well, too.
        """
        self._images = images(record, state)
        wants = (
            *(record.generation, record.target),
            *((each.image, each.platform, each.current, each.next) for each in self._images),
        )
        members = self._members
        if self._version != self._fleet.version or self._wants[:2] != wants[:2]:
            self._version = self._fleet.version
            members = view.machines(record)
            again = True  # drained nodes and labels change it, too
        if self._wants != wants:
            self._wants, self.rows, self.is_new = wants, {}, True
            due: set[str] = set(members)
        else:
            due = {each for each in changed if each in members} | (members - self._members)
            if again:
                due.update(*self.rows.values())
                due &= members  # those that are meant no more have rows until here
        gone = self._members - members
        self._members = members
        for machine in gone:
            self._drop(machine)
        for number, machine in enumerate(due):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            self._look_at(record, machine, view, now)
        return bool(due or gone)

    def _drop(self, machine: str) -> None:
        for rows in self.rows.values():
            rows.pop(machine, None)
        self.troubled.discard(machine)

    def _look_at(self, record: SetRecord, machine: str, view: View, now: float) -> None:
        member = self._fleet.get(machine)
        self._drop(machine)
        if member is None:
            return
        for image in self._images:
            standing = stand(record, image, member, view, now)
            if standing.state == "converged":
                what = Brings(record.caller, str(pulled(image)), image.platform, standing.digest)
                self._attempts.succeeded(what, machine)
                if not standing.open:
                    continue
            self.rows.setdefault((image.image, image.platform), {})[machine] = standing
            if member.here and obstacle_of(member):
                self.troubled.add(machine)

    def facts(self, view: View) -> dict[tuple[str, str], Facts]:
        """Return what the rule sees of the nodes, by image and platform."""
        found = {}
        for image in self._images:
            key = (image.image, image.platform)
            rows = self.rows.get(key, {})
            opened = [each for each, row in rows.items() if row.open]
            found[key] = Facts(
                ready=[each for each, row in rows.items() if row.ready],
                open=opened,
                tried={each for each in opened if rows[each].tried},
                filling=any(
                    row.job and row.state == "missing" and row.digest == image.current
                    for row in rows.values()
                ),
                holding=not opened and bool(image.next) and self._holds(view, image),
                unknown=any(
                    row.state == "unknown" and self._could(machine) for machine, row in rows.items()
                ),
            )
        return found

    def _holds(self, view: View, image: ImageState) -> bool:
        """Return whether a node that is here has the next digest of an image."""
        name = pulled(image)
        return any(
            view.holds(machine, name, image.next, image.platform)
            for machine in self._members
            if self._fleet.is_here(machine)
        )

    async def unused(self, view: View, image: ImageState, digest: str) -> list[str]:
        """Return the machine ids of the nodes from which an older digest can go."""
        found = []
        for number, machine in enumerate(self._members):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            if not view.has(machine, digest) or not self._could(machine):
                continue  # what it has is looked at where it matters alone
            if is_unused(view.held(machine), image, digest):
                found.append(machine)
        return found

    def _could(self, machine: str) -> bool:
        member = self._fleet.get(machine)
        return member is not None and not obstacle_of(member)

    def due(self) -> Iterable[float]:
        """Yield when nodes are to be looked at by time alone, in seconds since 1970."""
        return (row.due for rows in self.rows.values() for row in rows.values() if row.due)
