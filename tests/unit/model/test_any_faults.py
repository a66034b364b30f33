"""The protocol under any faults in any order: nothing that it promises is ever broken.

With a number in TOWLINE_MODEL_EXAMPLES so many longer histories are tried, others each time: 1000
take some minutes. One that breaks a promise is made as short as can be.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.unit.model.controller import ModelController
from tests.unit.model.node import ModelNode
from tests.unit.model.world import World, draft
from towline.wire.job import ONCE, Job
from towline.wire.rollout import Waves
from towline.wire.target import ALL, ANY

MEMORY = Path("/dev/shm")
"""Ledgers sync each change, as they must: on a disk that takes most of the time."""

DRAFTS = [
    draft(ALL),
    draft(ALL, effect=ONCE),
    draft(ALL, expires=60.0),
    draft(ALL, leads=True),
    draft(ANY),
    draft(ANY, expires=60.0),
    draft(ANY, effect=ONCE),
    draft(ALL, waves=Waves(max_parallel="1")),
    draft(ALL, waves=Waves(max_parallel="1"), expires=60.0),
    draft(ALL, waves=Waves(max_parallel="1"), effect=ONCE),
    draft(ALL, waves=Waves(canary="1")),
    draft(ALL, waves=Waves(canary="1", max_parallel="1", max_failures="0")),
    draft(ALL, waves=Waves(max_parallel="2", max_failures="1"), effect=ONCE),
    draft(ALL, waves=Waves(canary="1"), leads=True),
    draft(ALL, waves=Waves(max_parallel="1"), leads=True),
]
INDEX = st.integers(0, 59)
WHICH = st.integers(0, 2)


class AnyFaults(RuleBasedStateMachine):
    """Controllers, nodes and what people want of them, in any order."""

    @initialize(nodes=st.integers(2, 3), prompt=st.booleans())
    def begin(self, nodes: int, prompt: bool) -> None:
        """Start all parts."""
        self.directory = TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.world = World(Path(self.directory.name), nodes=nodes)
        self.world.__enter__()
        for each in self.world.controllers:
            each.prompt = each.journal.prompt = prompt

    def controller(self, which: int) -> ModelController:
        """Return a controller that runs, the one that is meant if possible."""
        controllers = self.world.controllers
        found = controllers[which % 2]
        return found if found.up else controllers[1 - which % 2]

    def node(self, which: int) -> ModelNode:
        """Return a node."""
        return self.world.nodes[which % len(self.world.nodes)]

    # People

    @precondition(lambda self: len(self.world.jobs) < 3)
    @rule(which=WHICH, draft=st.sampled_from(DRAFTS))
    def submit(self, which: int, draft: Job) -> None:
        by = self.controller(which)
        if by.able.is_set():
            self.world.submit(by, draft)

    @precondition(lambda self: self.world.jobs)
    @rule(which=WHICH, job=WHICH)
    def cancel(self, which: int, job: int) -> None:
        found = self.world.jobs[job % len(self.world.jobs)]
        self.world.says(f"job {found.id[-1]} is to be cancelled")
        self.controller(which).cancel(found.id)
        self.world.check()

    @precondition(lambda self: self.world.jobs)
    @rule(which=WHICH, job=WHICH, resume=st.booleans())
    def pause(self, which: int, job: int, resume: bool) -> None:
        found = self.world.jobs[job % len(self.world.jobs)]
        self.controller(which).pause(found.id, resume=resume)
        self.world.check()

    # The network

    @precondition(lambda self: self.world.network.messages)
    @rule(index=INDEX, turn=WHICH)
    def deliver(self, index: int, turn: int) -> None:
        self.world.turn = turn
        self.world.network.deliver(index % len(self.world.network.messages))
        self.world.check()

    @precondition(lambda self: self.world.network.messages)
    @rule(index=INDEX, turn=WHICH)
    def deliver_twice(self, index: int, turn: int) -> None:
        self.world.turn = turn
        self.world.network.deliver(index % len(self.world.network.messages), keep=True)
        self.world.check()

    @precondition(lambda self: self.world.network.messages)
    @rule(index=INDEX)
    def lose(self, index: int) -> None:
        self.world.network.lose(index % len(self.world.network.messages))

    @precondition(lambda self: self.world.network.messages)
    @rule(count=st.integers(1, 20))
    def deliver_some(self, count: int) -> None:
        for _ in range(count):
            if self.world.network.messages:
                self.world.network.deliver(0)
        self.world.check()

    @rule(well=st.booleans())
    def go_on(self, well: bool) -> None:
        """Let all be as it usually is, for a moment."""
        self.world.deliver_all()
        for run in list(self.world.promises.running):
            self.world.end(run, well=well)
        self.world.deliver_all()

    @rule(seconds=st.sampled_from([0.5, 3.0, 7.0, 7.0, 16.0, 70.0, 4000.0, 8 * 86400.0]))
    def wait(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    # Nodes

    @precondition(lambda self: self.world.promises.running)
    @rule(index=INDEX, well=st.booleans())
    def end(self, index: int, well: bool) -> None:
        running = self.world.promises.running
        self.world.end(running[index % len(running)], well=well)

    @precondition(lambda self: self.world.promises.running)
    @rule(index=INDEX, value=st.sampled_from(["d", "e"]))
    def find(self, index: int, value: str) -> None:
        running = self.world.promises.running
        self.world.find(running[index % len(running)], value)

    @rule(which=WHICH)
    def stop_or_start_node(self, which: int) -> None:
        node = self.node(which)
        if node.up:
            self.world.says(f"{node.machine} dies")
            node.crash()
        else:
            self.world.says(f"{node.machine} starts")
            node.start()
        self.world.check()

    @rule(which=WHICH)
    def lose_ledger(self, which: int) -> None:
        self.world.says(f"{self.node(which).machine} loses its ledger, and starts")
        self.world.lose_ledger(self.node(which))
        self.world.check()

    @rule(which=WHICH)
    def slow_disk(self, which: int) -> None:
        node = self.node(which)
        if node.up and node.disk.slow:
            self.world.says(f"{node.machine}'s disk writes")
            node.write()
        else:
            self.world.says(f"{node.machine}'s disk is slow")
            node.disk.slow = True
        self.world.check()

    # Controllers

    @rule(which=WHICH)
    def stop_or_start_controller(self, which: int) -> None:
        each = self.world.controllers[which % 2]
        if not each.up:
            self.world.says(f"{each.name} starts")
            self.world.start_controller(each)
        elif self.world.controllers[1 - which % 2].up:
            self.world.says(f"{each.name} dies")
            each.crash()
        self.world.check()

    @rule(which=WHICH)
    def lag(self, which: int) -> None:
        each = self.controller(which)
        each.lags = not each.lags
        self.world.says(f"{each.name} {'lags' if each.lags else 'catches up'}")
        each.follow()
        self.world.check()

    @rule(which=WHICH, count=st.integers(1, 3))
    def fold(self, which: int, count: int) -> None:
        self.controller(which).fold_next(count)
        self.world.check()

    @rule(which=WHICH, both=st.booleans())
    def lease(self, which: int, both: bool) -> None:
        """Give the lease to another, or to both where the journal takes its time.

        Where it takes none, two that see the fleet differently would undo without end what the
        other one has decided.
        """
        each = self.controller(which)
        self.world.give_lease(each, both=not each.prompt and both)

    @rule(which=WHICH, node=WHICH)
    def miss(self, which: int, node: int) -> None:
        self.world.says(f"{self.controller(which).name} misses {self.node(node).machine}")
        self.controller(which).miss(self.node(node).machine)
        self.world.check()

    def teardown(self) -> None:
        """Let no fault be any more: then everything comes to an end."""
        if not hasattr(self, "world"):
            return
        try:
            if not self.world.broken:
                self.world.recover()
        finally:
            self.world.__exit__(None, None, None)
            self.directory.cleanup()


EXAMPLES = int(os.environ.get("TOWLINE_MODEL_EXAMPLES", "0"))

TestAnyFaults = AnyFaults.TestCase
TestAnyFaults.settings = settings(
    max_examples=EXAMPLES or 100,
    stateful_step_count=80 if EXAMPLES else 50,
    derandomize=not EXAMPLES,
    database=None,
    # Where it fails the trace says how; the shortest one takes minutes to be found.
    phases=[Phase.generate, Phase.shrink]
    if EXAMPLES and not os.environ.get("NOSHRINK")
    else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)
