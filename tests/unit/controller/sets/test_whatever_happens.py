"""In the end each node has what its sets want, whatever has happened.

The real reconciler in memory, against all that people, nodes and registries do, in any order.
"""

import itertools
import os
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.testing.reconciled import Reconciled, renewed
from tests.testing.sets import NAME, a_set, digest
from towline.controller.sets.record import Change, SetRecord
from towline.controller.sets.standing import images
from towline.controller.sets.steering import gone_back
from towline.wire.rollout import Waves

OTHER = "docker.io/library/redis:7"
IMAGES = (NAME, OTHER)
MACHINES = st.sampled_from("abcde")
NAMES = st.sampled_from(["first", "second", "third"])
DIGESTS = st.integers(1, 4).map(digest)
WAVES = st.sampled_from(
    [
        None,
        Waves(canary="1", max_failures="0"),
        Waves(max_parallel="1"),
        Waves(canary="1", max_parallel="50%", max_failures="1"),
    ]
)
HOUR = 3600.0
EXAMPLES = 1000 if os.environ.get("TOWLINE_TEST_ALL") else 10
"""Stories that are tried; `scripts/test long` tries many."""


class Fleet(RuleBasedStateMachine):
    """What happens to a fleet of five nodes with three sets of two images."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Reconciled()
        self.numbers = itertools.count(1)
        self.fresh = itertools.count(100)

    @initialize()
    def begin(self) -> None:
        """Three nodes are there, and one set."""
        self.world.tags = {name: digest(1) for name in IMAGES}
        for machine, label in zip("abc", ("web", "web", "db"), strict=True):
            self.world.join(machine, label)
        self.put("first", "_all", (NAME,), "tag", None, "")
        self.world.settle(3, 10.0)

    # Nodes

    @rule(machine=MACHINES, label=st.sampled_from(["web", "db", ""]))
    def comes(self, machine: str, label: str) -> None:
        """A node joins, returns, or has another label."""
        self.world.join(machine, label)

    @rule(machine=MACHINES)
    def leaves(self, machine: str) -> None:
        """A node goes away."""
        if machine in self.world.names:
            self.world.beat(machine, leaving=True)

    @rule(machine=MACHINES, image=st.sampled_from(IMAGES), said=st.booleans())
    def removed_by_hand(self, machine: str, image: str, said: bool) -> None:
        """Somebody removes an image; the node may come to say so later."""
        if machine in self.world.names:
            self.world.names[machine].pop(image, None)
            self.said(machine, said)

    @rule(machine=MACHINES, image=st.sampled_from(IMAGES), number=DIGESTS, said=st.booleans())
    def pulled_by_hand(self, machine: str, image: str, number: str, said: bool) -> None:
        """Somebody pulls what isn't wanted, or is."""
        if machine in self.world.names:
            self.world.names[machine][image] = number
            self.said(machine, said)

    def said(self, machine: str, said: bool) -> None:
        if said:
            self.world.say(machine)

    @rule(machine=MACHINES)
    def fails(self, machine: str) -> None:
        """From now on pulls fail on a node, or don't any more."""
        self.world.failing ^= {machine}

    @rule(machine=MACHINES)
    def skips(self, machine: str) -> None:
        """From now on a node skips what it is to do, or doesn't any more."""
        self.world.skipping ^= {machine}

    # The registry

    @rule(image=st.sampled_from(IMAGES), number=DIGESTS)
    def tag_moves(self, image: str, number: str) -> None:
        """A tag names another digest."""
        self.world.tags[image] = number

    @rule()
    def registry_goes_or_returns(self) -> None:
        """The registry is away from now on, or back."""
        self.world.away = not self.world.away

    # People

    @rule(
        name=NAMES,
        whom=st.sampled_from(["_all", "group:web", "group:db", "a"]),
        wanted=st.sampled_from([(NAME,), (OTHER,), IMAGES]),
        follow=st.sampled_from(["tag", "digest"]),
        waves=WAVES,
        window=st.sampled_from(["", "02:00-04:00 Europe/Berlin"]),
    )
    def put(
        self,
        name: str,
        whom: str,
        wanted: tuple[str, ...],
        follow: str,
        waves: Waves | None,
        window: str,
    ) -> None:
        """A set is declared, or declared otherwise."""
        world, before = self.world, self.world.sets.get(name)
        more: dict[str, Any] = {"follow": follow, "window": window, "changed": world.now}
        waves = None if whom == "a" else waves
        record = a_set(*wanted, name=name, target=whom, waves=waves, **more)
        if before is None:
            identity = f"{name}-{next(self.numbers)}"
            record = msgspec.structs.replace(record, id=identity, created=world.now)
        else:
            again = before.generation + 1
            record = msgspec.structs.replace(
                record, id=before.id, created=before.created, generation=again
            )
        world.sets.records[name] = record
        self.say_of(record, "declared" if before is None else "changed")

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        """A set is removed."""
        if self.world.sets.records.pop(name, None) is not None:
            self.world.sets.tell()

    @rule(name=NAMES, paused=st.booleans())
    def pause(self, name: str, paused: bool) -> None:
        """A set is paused, or goes on."""
        sets = self.world.sets
        record = sets.get(name)
        if record is not None and (sets.state(name).paused is not None) != paused:
            sets.states[name] = renewed(sets.state(name), paused=self.world.now if paused else None)
            self.say_of(record, "paused" if paused else "resumed")

    @rule(name=NAMES)
    def roll_back(self, name: str) -> None:
        """All images of a set go back to the digest before."""
        sets = self.world.sets
        record = sets.get(name)
        if record is None:
            return
        state = sets.state(name)
        states = [gone_back(each, self.world.now) or each for each in images(record, state)]
        sets.states[name] = renewed(state, images=states)
        self.say_of(record, "rolled_back")

    def say_of(self, record: SetRecord, what: str) -> None:
        sets = self.world.sets
        state = sets.state(record.name)
        noted = Change(self.world.now, "ann", what, generation=record.generation)
        if what in ("declared", "changed", "resumed"):
            state = state.anew(self.world.now)
        sets.states[record.name] = renewed(state, history=[*state.history, noted])
        sets.tell()

    # What goes on

    @rule(turns=st.integers(1, 30))
    def goes_on(self, turns: int) -> None:
        """The controller gets on, and may be in the middle of something then."""
        self.world.keep(turns)

    @rule()
    def has_turns(self) -> None:
        """Jobs give turns."""
        self.world.turn()

    @rule(machine=MACHINES, said=st.booleans())
    def works(self, machine: str, said: bool) -> None:
        """A node does what it has to do."""
        if machine in self.world.names:
            self.world.work(machine)
            self.said(machine, said)

    @rule(seconds=st.sampled_from([1.0, 20.0, 1000.0, 6 * HOUR, 30 * HOUR]))
    def time_passes(self, seconds: float) -> None:
        """Time passes."""
        self.world.now += seconds

    @rule()
    def takes_over(self) -> None:
        """The controller ends wherever it is, and another takes over."""
        self.world.take_over()

    # In the end

    def teardown(self) -> None:
        """All works again, and what is wanted comes about."""
        world = self.world
        try:
            world.failing, world.skipping, world.away = set(), set(), False
            world.tags = dict.fromkeys(IMAGES, digest(next(self.fresh)))
            for machine in world.names:
                world.join(machine, world.labels[machine])
            for record in world.sets.all():
                sets = world.sets
                sets.states[record.name] = renewed(sets.state(record.name), paused=None)
                self.say_of(record, "resumed")
            world.settle(12, 60.0)
            world.settle(40, HOUR)
            self.check()
            made = len(world.jobs)
            world.settle(4, HOUR)
            assert len(world.jobs) == made, "jobs without an end"
        finally:
            world.close()

    def check(self) -> None:
        """Each node has what the oldest of its sets wants under each name."""
        world = self.world
        assert [state.job.id for state in world.jobs.values() if not state.done] == []
        for machine, names in world.names.items():
            taken = set()
            for record in world.sets.all():
                if record.target not in ("_all", f"group:{world.labels[machine]}", machine):
                    continue
                for image in images(record, world.sets.state(record.name)):
                    if image.image in taken:
                        continue
                    taken.add(image.image)
                    assert (image.next, image.stopped, image.problem) == ("", "", "")
                    assert image.current
                    if record.follow == "tag":
                        assert image.current == world.tags[image.image]
                    assert names.get(image.image) == image.current, (machine, record.name, image)


TestWhateverHappens = Fleet.TestCase
TestWhateverHappens.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    # What is found at random is found by `scripts/test long`, which holds up nobody.
    derandomize=EXAMPLES < 1000,
)
