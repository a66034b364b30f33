"""Agents that die or are stopped: every job still has one end, and a true one."""

import json
import signal

from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.passages import (
    EFFECTS,
    LONG,
    ONE,
    TWO,
    all_begun,
    ask,
    asked,
    counts,
    end,
    ends,
    hold,
    let_go,
    outbox,
)
from tests.testing.process import wait_until
from towline.wire.event import RESULT_STATUS


def reported(system: Cluster, job: str) -> int:
    """Return how many ends of a job on a node the journal has; it may have one of them twice."""
    groups = [data for subject, data in system.broker.messages("CHANGES") if subject == "report"]
    events = [event for data in groups for event in json.loads(data) if event["job"] == job]
    return len({event["time"] for event in events if event["kind"] in RESULT_STATUS})


def test_an_agent_that_dies_before_it_begins_does_it_once_when_it_returns(
    system: Cluster, gate: Gate, name: str
) -> None:
    agent = system.agents[ONE]
    agent.signal(signal.SIGSTOP)
    try:
        jobs = asked(system.admin, ONE, name)
    finally:
        agent.kill()
        agent.start()
    assert ends(system, jobs) == dict.fromkeys(EFFECTS, "ok")
    assert {counts(gate, name, effect) for effect in EFFECTS} == {(1, 1)}


def test_what_an_agent_dies_in_is_run_again_only_if_it_may_be(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    jobs = asked(system.admin, ONE, name)
    all_begun(gate, name)
    agent = system.agents[ONE]
    agent.kill()
    let_go(gate, name)
    agent.start()
    assert ends(system, jobs) == {"pass": "ok", "once": "failed", "look": "ok"}
    assert "interrupted" in str(end(system, jobs["once"])[1])
    assert [counts(gate, name, effect) for effect in EFFECTS] == [(2, 1), (1, 0), (2, 1)]


def test_an_end_that_an_agent_could_not_report_before_it_died_is_reported_when_it_returns(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    jobs = {effect: ask(system.admin, ONE, effect, name).json()["job_id"] for effect in EFFECTS[:2]}
    wait_until(lambda: all(counts(gate, name, effect)[0] for effect in jobs), what="both begun")
    known, agent = outbox(system), system.agents[ONE]
    system.broker.process.kill()
    try:
        let_go(gate, name)
        wait_until(lambda: outbox(system) >= max(known, 2), what="both ends in the ledger")
        wait_until(
            lambda: all(counts(gate, name, effect)[1] for effect in jobs), what="both to pass"
        )
    finally:
        agent.kill()
        system.broker.start()
        agent.start()
    assert ends(system, jobs) == dict.fromkeys(jobs, "ok")
    assert {counts(gate, name, effect) for effect in jobs} == {(1, 1)}


def test_an_end_that_an_agent_had_reported_before_it_died_stays_the_only_one(
    system: Cluster, gate: Gate, name: str
) -> None:
    job = ask(system.admin, ONE, "once", name).json()["job_id"]
    wait_until(lambda: reported(system, job) == 1, what="the end at the broker")
    agent = system.agents[ONE]
    agent.kill()
    assert outbox(system) >= 1, "the ledger is to have it still, or this shows nothing"
    agent.start()
    # The next job's end comes after all that the ledger had.
    assert end(system, ask(system.admin, ONE, "pass", name).json()["job_id"]) == ("ok", None)
    assert end(system, job) == ("ok", None)
    shown = [moment["event"] for moment in system.job(job)["timeline"]]
    assert shown.count("completed") == 1
    assert counts(gate, name, "once") == (1, 1)


def test_a_read_for_any_node_ends_with_the_answer_of_who_takes_it_over(
    system: Cluster, gate: Gate, name: str
) -> None:
    gate.hold(f"{name}-look")
    job = ask(system.admin, "_any", "look", name).json()["job_id"]

    wait_until(
        lambda: any(counts(gate, name, "look", node)[0] for node in (ONE, TWO)), what="its begin"
    )
    (first,) = (node for node in (ONE, TWO) if counts(gate, name, "look", node)[0])
    other_node = TWO if first == ONE else ONE
    system.agents[first].kill()
    try:
        gate.open(f"{name}-look")
        assert end(system, job, other_node) == ("ok", None)
        listed = system.admin.get("/job?limit=1").json()["items"][0]
        assert (listed["id"], listed["status"], listed["nodes"]) == (job, "completed", {"ok": 1})
    finally:
        system.agents[first].start()
        system.wait_here(first)


def test_an_agent_that_is_asked_to_end_leaves_what_runs_to_its_next_start(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    jobs = {effect: ask(system.admin, ONE, effect, name).json()["job_id"] for effect in EFFECTS[:2]}
    wait_until(lambda: all(counts(gate, name, effect)[0] for effect in jobs), what="both begun")
    agent = system.agents[ONE]
    assert agent.stop() == 0
    assert {gate.stopped(f"{name}-{effect}", ONE) for effect in jobs} == {1}
    assert [reported(system, job) for job in jobs.values()] == [0, 0]
    system.wait_away(ONE)
    later = ask(system.admin, ONE, "pass", f"{name}-later", prefer=LONG)
    assert later.json()["results"][0]["status"] == "pending"
    let_go(gate, name)
    agent.start()
    assert ends(system, jobs) == {"pass": "ok", "once": "failed"}
    assert [counts(gate, name, effect) for effect in jobs] == [(2, 1), (1, 0)]
    assert end(system, later.json()["job_id"]) == ("ok", None)
    assert counts(gate, f"{name}-later", "pass") == (1, 1)


def test_an_agent_that_is_asked_to_end_delivers_what_it_knows_first(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    job = ask(system.admin, ONE, "once", name).json()["job_id"]
    wait_until(lambda: counts(gate, name, "once")[0] == 1, what="it to be begun")
    # Nothing more than a second's stall: the agent keeps its connection, and no answer comes.
    agent, known = system.agents[ONE], outbox(system)
    system.broker.process.signal(signal.SIGSTOP)
    try:
        let_go(gate, name)
        wait_until(lambda: outbox(system) >= max(known, 1), what="the end in the ledger")
        wait_until(lambda: counts(gate, name, "once")[1] == 1, what="it to pass")
        agent.signal(signal.SIGTERM)
    finally:
        system.broker.process.signal(signal.SIGCONT)
    assert agent.wait() == 0
    try:
        assert reported(system, job) == 1
        assert outbox(system) == 0
        assert end(system, job) == ("ok", None)
    finally:
        agent.start()
        system.wait_here(ONE)
