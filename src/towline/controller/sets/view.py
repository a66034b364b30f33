"""What a controller knows just now that concerns sets, as the rules see it."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Mapping

from towline.controller.fleet import Fleet, place_of
from towline.controller.inventory.inventories import Inventories
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.state import JobState
from towline.controller.member import Member
from towline.controller.moment import LocalClock
from towline.controller.resolution import candidates
from towline.controller.sets.attempts import Attempts, Brings, brings
from towline.controller.sets.record import CALLER, ImageState, SetRecord, SetState
from towline.controller.sets.sets import Sets
from towline.controller.sets.standing import Attempt, Rival, Standing, images, pulled, standings
from towline.wire.inventory import ImageHeld
from towline.wire.reference import Reference
from towline.wire.target import InvalidTarget, parse_target


class View:
    """What is known, all at one moment: made anew for each question or pass.

    It answers as `towline.controller.sets.standing.Known`.
    """

    def __init__(
        self,
        fleet: Fleet,
        inventories: Inventories,
        sets: Sets,
        jobs: OpenJobs,
        attempts: Attempts,
    ) -> None:
        self._fleet = fleet
        self._inventories = inventories
        self._attempts = attempts
        self.of_sets: list[JobState] = []
        """The open jobs of sets."""
        self._bringing: dict[tuple[str, str, str], list[JobState]] = {}
        for state in jobs:
            if not state.job.caller.startswith(CALLER):
                continue
            self.of_sets.append(state)
            if (what := brings(state.job)) is not None and state.cancelled is None:
                key = (what.image, what.platform, what.digest)
                self._bringing.setdefault(key, []).append(state)
        self._named: dict[str, list[tuple[SetRecord, ImageState]]] = {}
        """What is wanted under each name, the oldest set's first."""
        self._meant: dict[str, frozenset[str] | None] = {}
        for record in sets.all():
            for image in images(record, sets.state(record.name)):
                self._named.setdefault(str(pulled(image)), []).append((record, image))

    def meant(self, target: str) -> frozenset[str] | None:
        """Return the machine ids of the nodes that a target means just now; None for all."""
        if target not in self._meant:
            try:
                self._meant[target] = candidates(self._fleet, parse_target(target))
            except InvalidTarget:
                self._meant[target] = frozenset()  # of a version that knows more of them
        return self._meant[target]

    def machines(self, record: SetRecord) -> frozenset[str]:
        """Return the machine ids of the nodes that a set's target means just now."""
        meant = self.meant(record.target)
        found = frozenset(self._fleet.names.machines) if meant is None else meant
        return found - self._fleet.shut_out.keys() if self._fleet.shut_out else found

    def members(self, record: SetRecord) -> list[Member]:
        """Return the nodes that a set's target means just now, in the order of `Fleet.members`."""
        meant = self.machines(record)
        return [member for member in self._fleet.members() if member.machine in meant]

    def holds(self, machine: str, image: Reference, digest: str, platform: str = "") -> bool | None:
        """Whether a node has a digest under a name; None where that is not known just now."""
        if not self._inventories.settled(machine):
            return None
        return self._inventories.holds(machine, image, digest, platform)

    def has(self, machine: str, digest: str) -> bool:
        """Whether a node is known to have what has a digest, or has that for its id."""
        number = self._inventories.number(machine)
        alike = self._inventories.rows.by_key.get(digest)
        if number is None or alike is None or not self._inventories.settled(machine):
            return False
        return any(row.nodes >> number & 1 for row in alike.rows)

    def held(self, machine: str) -> Mapping[str, ImageHeld] | None:
        """Return what is on a node, by the engine's ids; None where that is not known."""
        return self._inventories.of(machine)

    def attempt(
        self, record: SetRecord, image: ImageState, digest: str, machine: str
    ) -> Attempt | None:
        """Return how the last attempt has ended, None where none has come to nothing."""
        what = Brings(record.caller, str(pulled(image)), image.platform, digest)
        return self._attempts.of(what, machine)

    def job(self, image: ImageState, digest: str, machine: str) -> str:
        """Return the id of the job of a set that is to bring a node that digest, or ""."""
        going = self._bringing.get((str(pulled(image)), image.platform, digest), ())
        return next((each.job.id for each in going if machine in each.unfinished), "")

    def rival(
        self, record: SetRecord, image: ImageState, digest: str, machine: str
    ) -> Rival | None:
        """Return which older set wants something else under the image's name on a node."""
        name = pulled(image)
        if name.digest is not None:
            return None  # what has no tag takes no other's
        for other, theirs in self._named.get(str(name), ()):
            if (other.id, theirs.platform) == (record.id, image.platform):
                return None
            meant = self.meant(other.target)
            if meant is not None and machine not in meant:
                continue
            wanted = theirs.current or theirs.next
            if theirs.next and self.holds(machine, name, theirs.next, theirs.platform):
                wanted = theirs.next
            if wanted and (wanted, theirs.platform) != (digest, image.platform):
                # Where both go where the tag goes, it has to be looked up by both, or the other
                # waits for its window.
                follows = "tag" == record.follow == other.follow and not theirs.rejected
                passing = follows and theirs.platform == image.platform
                what = f" for {theirs.platform}" if theirs.platform else ""
                words = f"the set {other.name}, which is older, wants {wanted}{what} there"
                return Rival(f"{words} yet" if passing else words, passing)
        return None


class Standings:
    """Says where nodes stand against sets, for whoever asks."""

    def __init__(
        self,
        fleet: Fleet,
        inventories: Inventories,
        sets: Sets,
        jobs: OpenJobs,
        attempts: Attempts,
        clock: LocalClock,
    ) -> None:
        self._known = (fleet, inventories, sets, jobs, attempts)
        self._clock = clock

    def view(self) -> View:
        """Return what is known just now."""
        return View(*self._known)

    def of(
        self,
        record: SetRecord,
        state: SetState | None,
        *,
        first: tuple[str, str] = ("", ""),
        image: str | None = None,
    ) -> Iterator[Standing]:
        """Yield where each node stands that a set means, by hostname, and each of its images.

        Args:
            first: hostname and machine id of the node with which to begin, or the next behind it.
            image: the one image that is asked about, its reference in full; None for all.
        """
        view = self.view()
        members = view.members(record)
        begin = bisect.bisect_left(members, first, key=place_of)
        nodes = itertools.islice(members, begin, None)
        yield from standings(record, state, nodes, view, self._clock.wall(), image=image)
