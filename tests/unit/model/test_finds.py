"""The model finds what breaks where a rule of the protocol is left out.

Each history is played twice: with the real parts nothing breaks and everything comes to an end;
with one part that leaves a rule out a promise is broken.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest

from tests.unit.model import controller, node
from tests.unit.model.promises import Broken, Promises
from tests.unit.model.world import World, draft
from towline.agent.ledger import Ledger
from towline.agent.ledger.changes import ENDED
from towline.agent.runner import Runner as NodeRunner
from towline.broker.listener import Received
from towline.controller.jobs.reports import Asked, Reports
from towline.controller.jobs.state import JobState
from towline.controller.rollout.decisions import Decisions, decision
from towline.controller.rollout.runner import Runner
from towline.controller.rollout.view import FleetView
from towline.wire import messages
from towline.wire.event import RESULT_STATUS, WITHHELD, Event, Lead, NamedNode
from towline.wire.job import ONCE, Job
from towline.wire.release import Cancellation, Release
from towline.wire.report import STORED
from towline.wire.rollout import Waves
from towline.wire.target import ALL, ANY

# What histories are made of


def submit(world: World, draft: Job) -> Job:
    job = world.submit(world.controllers[0], draft)
    assert job is not None
    return job


def deliver(world: World, *texts: str, keep: bool = False) -> None:
    """Deliver the first message of each text that is on its way."""
    for text in texts:
        found = world.network.find(text)
        assert found, f"{text!r} is not among {[each.text for each in world.network.messages]}"
        world.network.deliver(found[0], keep=keep)
    world.check()


def lose(world: World, text: str) -> None:
    """Lose each message of a text that is on its way."""
    while found := world.network.find(text):
        world.network.lose(found[0])


def run_on(world: World, machine: str) -> node.Run:
    return next(each for each in world.promises.running if each.machine == machine)


# Histories


def a_release_comes_twice(world: World) -> None:
    submit(world, draft(ALL, effect=ONCE))
    deliver(world, "release to a", keep=True)
    world.end(run_on(world, "a"))
    deliver(world, "report a completed", "receipt of a completed", "release to a")
    world.recover()


def a_node_loses_its_ledger(world: World) -> None:
    submit(world, draft(ALL, effect=ONCE))
    deliver(world, "release to a")
    world.lose_ledger(world.nodes[0])
    for _ in range(4):
        # Until its last start counts as away, the new one is none for the controllers.
        world.pass_time(7.0)
        world.deliver_all()
    world.recover()


def a_release_comes_when_its_turn_is_taken_back(world: World) -> None:
    job = submit(world, draft(ANY))
    (first,) = (planned.machine for planned in job.plan)
    world.controllers[0].miss(first)
    deliver(world, f"release to {first}")
    world.recover()


def two_find_what_all_are_to_use(world: World) -> None:
    submit(world, draft(ALL, leads=True))
    deliver(world, "release to a")
    world.find(run_on(world, "a"), "d")
    deliver(world, "report a led", "receipt of a led")
    world.recover()


def a_job_expires_while_it_runs(world: World) -> None:
    submit(world, draft(ALL, effect=ONCE))
    deliver(world, "release to a", "release to b")
    for _ in range(10):
        world.pass_time(7.0)
        lose(world, "started")
        world.deliver_all()
    world.recover()


def a_job_is_cancelled_while_it_runs(world: World) -> None:
    job = submit(world, draft(ALL))
    deliver(world, "release to a")
    world.controllers[1].cancel(job.id)
    world.check()
    world.recover()


def two_controllers_have_the_lease(world: World) -> None:
    first, second = world.controllers
    submit(world, draft(ALL, waves=Waves(max_parallel="1")))
    deliver(world, "release to a", "report a started", "receipt of a started")
    world.end(run_on(world, "a"))
    world.give_lease(first, both=True)
    second.lags = True
    second.miss("b")
    deliver(world, "report a completed")
    # Not what the first one has decided then.
    second.fold_next(1)
    world.check()
    for machine in ("b", "c"):
        if world.network.find(f"release to {machine}"):
            # Both ask the first one.
            world.turn = 1
            deliver(world, *(f"{text} {machine}" for text in ("release to", "report")))
            deliver(world, f"receipt of {machine} started")
    world.recover()


def a_release_is_lost(world: World) -> None:
    submit(world, draft(ALL))
    lose(world, "release to a")
    world.recover()


def a_job_is_cancelled_whose_release_was_lost(world: World) -> None:
    job = submit(world, draft(ALL))
    lose(world, "release to a")
    world.controllers[0].cancel(job.id)
    world.check()
    world.recover()


def a_report_is_lost_with_its_controller(world: World) -> None:
    submit(world, draft(ALL, effect=ONCE))
    first = world.controllers[0]
    first.prompt = first.journal.prompt = False
    deliver(world, "release to a")
    world.end(run_on(world, "a"))
    world.turn = 1
    deliver(world, "report a completed")
    first.crash()
    lose(world, "x stores reports")
    world.lose_ledger(world.nodes[0])
    for _ in range(4):
        world.pass_time(7.0)
        world.deliver_all()
    world.recover()


# Parts that leave a rule out


class ForgetfulLedger(Ledger):
    """Doesn't know any more what has ended (rule 6)."""

    def state_of(self, job_id: str) -> int | None:
        state = super().state_of(job_id)
        return None if state == ENDED else state


class AgelessLedger(Ledger):
    """Was always there, for all that it knows (rule 7)."""

    def use(self, moment: float) -> None:
        super().use(0.0)


class ForwardRunner(NodeRunner):
    """Begins without asking (rule 3)."""

    async def _leave(self, release: Release) -> Event | bool:
        return True


class RashReports(Reports):
    """Answers the node that leads with what it has found itself (rule 9)."""

    async def _lead(self, state: JobState, event: Event, reply: Asked) -> None:
        value = str((event.data or {})["value"])
        self._answer(reply, STORED, lead=Lead(value, event.hostname, event.time))


class BlindView(FleetView):
    """Doesn't look which tasks nodes hold (rule 5)."""

    def holds(self, machine: str, job_id: str) -> bool:
        return False


class HarshDecisions(Decisions):
    """Says of all nodes that they are cancelled, also of those that run (rule 4)."""

    async def cancel(self, job_id: str, caller: str) -> None:
        def choose(state: JobState) -> Event | None:
            nodes = [
                NamedNode(each, state.tasks[each].hostname, caller, "cancelled")
                for each in state.unfinished
            ]
            return decision(job_id, WITHHELD, self._clock.wall(), nodes=nodes)

        await self.make(job_id, choose)


class OneTimeRunner(Runner):
    """Sends each task once (rule 1)."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options, not_again_within=1e9)


class HeedlessRunner(NodeRunner):
    """Lets pass that a task is cancelled which it doesn't know (rule 4)."""

    def cancel(self, order: Cancellation) -> None:
        if self._executor.runs(order.id):
            super().cancel(order)


class EarlyReports(Reports):
    """Has callers answered with what is reported, before it is stored (rule 2)."""

    promises: Promises

    def receive(self, received: Received) -> None:
        event = messages.report(received.subject, received.data)
        if event.kind in RESULT_STATUS:
            self.promises.answer(event.job, event.machine, RESULT_STATUS[event.kind])
        super().receive(received)


class Case(NamedTuple):
    """A rule that is left out, and what shows that.

    Attributes:
        nodes: how many the history needs.
        parts: of which the world is made then.
        compares: whether the journal compares before it stores a decision.
        broken: what is found.
    """

    history: Callable[[World], None]
    broken: str
    parts: dict[str, Any]
    nodes: int = 2
    compares: bool = True


CASES = {
    "ledgers forget how tasks have ended": Case(
        a_release_comes_twice,
        "runs once ran twice on a",
        {"of_node": node.Parts(ledger=ForgetfulLedger)},
    ),
    "ledgers accept jobs that run once and are older than themselves": Case(
        a_node_loses_its_ledger,
        "runs once ran twice on a",
        {"of_node": node.Parts(ledger=AgelessLedger)},
    ),
    "nodes begin without leave": Case(
        a_release_comes_when_its_turn_is_taken_back,
        "runs without leave",
        {"of_node": node.Parts(runner=ForwardRunner)},
    ),
    "what the lead has found is answered before it is stored": Case(
        two_find_what_all_are_to_use,
        "a uses d, None is stored",
        {"of_controller": controller.Parts(reports=RashReports)},
    ),
    "tasks expire that their nodes hold": Case(
        a_job_expires_while_it_runs,
        "was said to have expired, and holds it",
        {"of_controller": controller.Parts(view=BlindView)},
    ),
    "nodes that run are said to be cancelled": Case(
        a_job_is_cancelled_while_it_runs,
        "a was cancelled by decision, but has run",
        {"of_controller": controller.Parts(decisions=HarshDecisions)},
    ),
    "decisions are stored behind any other": Case(
        two_controllers_have_the_lease,
        "2 run, max_parallel is 1",
        {},
        nodes=3,
        compares=False,
    ),
    "tasks are sent once": Case(
        a_release_is_lost,
        "it comes to no end",
        {"of_controller": controller.Parts(runner=OneTimeRunner)},
    ),
    "nodes record no cancellation of what they don't know": Case(
        a_job_is_cancelled_whose_release_was_lost,
        "it comes to no end",
        {"of_node": node.Parts(runner=HeedlessRunner)},
    ),
    "callers are answered before a report is stored": Case(
        a_report_is_lost_with_its_controller,
        "a was said to be ok, stored is failed",
        {"of_controller": controller.Parts(reports=EarlyReports)},
    ),
}

by_name = partial(pytest.mark.parametrize, "case", CASES.values(), ids=CASES.keys())


@by_name()
def test_with_all_rules_nothing_breaks(case: Case, world: Callable[..., World]) -> None:
    case.history(world(nodes=case.nodes))


@by_name()
def test_the_model_finds_what_breaks_when(case: Case, world: Callable[..., World]) -> None:
    made = world(nodes=case.nodes, **case.parts)
    EarlyReports.promises = made.promises
    made.log.compares = case.compares
    with pytest.raises(Broken, match=case.broken):
        case.history(made)
