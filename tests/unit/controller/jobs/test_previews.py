"""What is foreseen of nodes: by what is known of them, and by what they say themselves."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.testing.jobs import a_job, an_event, planned
from towline.controller.fleet import Fleet
from towline.controller.jobs.previews import Forecast, Previews
from towline.controller.jobs.state import JobState
from towline.controller.jobs.submission import Submission
from towline.controller.moment import LocalClock
from towline.controller.permissions import Bounds
from towline.controller.rollout.releases import LARGEST_BODY
from towline.operations import docker
from towline.wire.event import COMPLETED, FAILED, SKIPPED, Event
from towline.wire.job import WAITS, Job, PlannedNode
from towline.wire.node import Heartbeat, Registration
from towline.wire.target import parse_target

TELLS = {"digest": "sha256:aa"}
Says = Callable[[Job, PlannedNode], Event | None]


class Asked:
    """Stands for what makes jobs and what asks nodes.

    Attributes:
        questions: what nodes were asked.
        waits: for how long each time, in seconds.
    """

    def __init__(self, job: Job, plan: list[PlannedNode], says: Says) -> None:
        self.questions: list[Job] = []
        self.waits: list[float] = []
        self.made: str | None = None
        self._job, self._plan, self._says = job, plan, says

    async def foresee(self, request: Submission) -> tuple[Job, list[PlannedNode], str | None]:
        return self._job, self._plan, self.made

    async def look(self, job: Job, wait: float) -> JobState:
        self.questions.append(job)
        self.waits.append(wait)
        state = JobState(job)
        for node in job.plan:
            if (event := self._says(job, node)) is not None:
                state.apply(event)
        return state


def told(job: Job, node: PlannedNode, data: dict[str, Any] | None = None) -> Event:
    return an_event(job, COMPLETED, node.machine, data=data or TELLS)


def a_fleet(machines: str, **capabilities: str) -> Fleet:
    fleet = Fleet()
    for machine in machines:
        fleet.register(Registration(machine, f"host-{machine}", "0.2.0", 1.7e9))
        fleet.receive(
            machine, Heartbeat("1" * 16, 5.0, capabilities=capabilities or {"docker": ""})
        )
    return fleet


async def foresee(
    says: Says = told,
    *,
    fleet: Fleet | None = None,
    machines: str = "abc",
    target: str = "_all",
    leads: bool = True,
    made: str | None = None,
    wait: float = 5.0,
    image: str = "app",
    plan: list[PlannedNode] | None = None,
) -> tuple[Forecast, Asked]:
    request = Submission(
        docker.pull, {"image": image}, parse_target(target), "ann", Bounds("ann", "any", None)
    )
    job = msgspec.structs.replace(
        a_job(machines=machines),
        operation=docker.pull.name,
        parameters=request.parameters,
        target=target,
        requires="docker",
        effect="converge",
        leads=leads,
    )
    asked = Asked(job, planned(machines, WAITS) if plan is None else plan, says)
    asked.made = made
    previews = Previews(asked, asked, fleet or a_fleet(machines))  # type: ignore[arg-type]
    return await previews.foresee(request, wait=wait), asked


async def test_one_node_finds_what_the_others_are_given() -> None:
    forecast, asked = await foresee()
    first, others = asked.questions
    assert (len(first.plan), len(others.plan)) == (1, 2)
    assert first.lead is None
    assert others.lead is not None
    assert (others.lead.value, others.lead.hostname) == ("sha256:aa", first.plan[0].hostname)
    assert [node.plan for node in forecast.nodes] == [TELLS] * 3
    assert {each.operation for each in asked.questions} == {"docker.pull.execute.preview"}
    assert {each.effect for each in asked.questions} == {"read"}


async def test_where_the_first_finds_nothing_each_is_asked_for_itself() -> None:
    forecast, asked = await foresee(lambda job, node: told(job, node, {"unresolved": "denied"}))
    assert [each.lead for each in asked.questions] == [None, None]
    assert {node.status for node in forecast.nodes} == {"would_run"}
    _, asked = await foresee(leads=False)
    assert [len(each.plan) for each in asked.questions] == [3]


async def test_what_a_node_does_not_say_is_said_to_be_so() -> None:
    def says(job: Job, node: PlannedNode) -> Event | None:
        if node.machine == "a":
            return None
        kind = {"b": SKIPPED, "c": FAILED}[node.machine]
        return an_event(job, kind, node.machine, error="in its words")

    forecast, _ = await foresee(says, leads=False)
    silent, old, failing = forecast.nodes
    assert (silent.status, silent.not_told) == ("would_run", "no answer within 5 s")
    assert (old.status, old.not_told) == ("would_run", "in its words")
    assert (failing.status, failing.reason) == ("would_fail", "in its words")
    assert [node.plan for node in forecast.nodes] == [None] * 3


async def test_about_what_is_too_large_to_be_sent_nobody_is_asked() -> None:
    forecast, asked = await foresee(image="a" * LARGEST_BODY)
    assert asked.questions == []
    assert {node.not_told for node in forecast.nodes} == {
        "the request is too large for nodes to be asked about"
    }


async def test_who_can_t_do_it_is_not_asked() -> None:
    fleet = a_fleet("ab")
    fleet.receive("b", Heartbeat("1" * 16, 5.0, capabilities={"node": ""}))
    forecast, asked = await foresee(fleet=fleet, machines="abc")
    able, unable, unknown = forecast.nodes
    assert able.status == "would_run"
    assert (unable.status, unable.reason) == ("skipped", "this node has no docker")
    assert unknown.status == "pending"
    assert [[node.machine for node in each.plan] for each in asked.questions] == [["a"]]


async def test_of_a_node_whose_engine_fails_it_is_said() -> None:
    trouble = a_fleet("a", docker="no engine answers")
    forecast, _ = await foresee(fleet=trouble, machines="a")
    assert (forecast.nodes[0].status, forecast.nodes[0].reason) == (
        "would_run",
        "no engine answers",
    )
    forecast, asked = await foresee(fleet=trouble, machines="a", target="_any")
    assert forecast.nodes[0].status == "skipped"
    assert asked.questions == []


async def test_for_any_node_one_of_those_that_could_is_asked() -> None:
    forecast, asked = await foresee(target="_any", leads=False)
    assert [node.status for node in forecast.nodes] == ["could_run"] * 3
    assert [len(each.plan) for each in asked.questions] == [1]
    assert sum(node.plan == TELLS for node in forecast.nodes) == 1


@pytest.mark.parametrize(
    ("wait", "takes", "waits"), [(3.0, 2.0, [3.0, 1.0]), (30.0, 4.0, [5.0, 5.0]), (3.0, 3.0, [3.0])]
)
async def test_all_is_asked_within_the_time_though_one_node_is_asked_before_the_others(
    wait: float, takes: float, waits: list[float]
) -> None:
    now = 100.0
    fleet = a_fleet("abc")
    fleet.clock = LocalClock(running=lambda: now)

    def says(job: Job, node: PlannedNode) -> Event:
        nonlocal now
        now += takes
        return told(job, node)

    forecast, asked = await foresee(says, fleet=fleet, wait=wait)
    assert asked.waits == waits
    left = [node.not_told for node in forecast.nodes if node.plan is None]
    assert left == ["no time was left to ask it"] * (2 if len(waits) == 1 else 0)


@pytest.mark.parametrize(
    ("target", "expected"), [("_any", "skipped"), ("_any,a", "skipped"), ("_all", "would_fail")]
)
async def test_for_any_node_those_for_which_it_is_not_kept_are_left_out(
    target: str, expected: str
) -> None:
    plan = [*planned("a", WAITS), PlannedNode("b", "host-b", "failed", "away since")]
    forecast, _ = await foresee(target=target, leads=False, plan=plan)
    assert (forecast.nodes[1].status, forecast.nodes[1].reason) == (expected, "away since")


@pytest.mark.parametrize("how", [{"wait": 0.0}, {"made": "0199aaaa-0000-7000-8000-000000000000"}])
async def test_nobody_is_asked_where_there_is_no_time_or_the_job_is_there(
    how: dict[str, Any],
) -> None:
    forecast, asked = await foresee(**how)
    assert asked.questions == []
    expected = "skipped" if "made" in how else "would_run"
    assert {node.status for node in forecast.nodes} == {expected}
