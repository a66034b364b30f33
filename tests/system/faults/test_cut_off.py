"""Controllers that freeze, or lose one of their two connections, and releases that are lost."""

import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx

from tests.testing.answers import refused
from tests.testing.broker import AGENTS_USER, JOURNAL_USER, NODES_USER
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
    shows,
)
from tests.testing.process import wait_until
from tests.testing.relay import Cable

CHANGES = EFFECTS[:2]


def begun(system: Cluster, gate: Gate, client: httpx.Client, names: list[str]) -> list[str]:
    """Have both nodes begin what is held under each name; return the jobs' ids."""
    jobs = []
    for name in names:
        hold(gate, name)
        jobs += [ask(client, "_all", effect, name).json()["job_id"] for effect in CHANGES]
    wait_until(
        lambda: all(
            counts(gate, name, effect, node)[0]
            for name in names
            for effect in CHANGES
            for node in (ONE, TWO)
        ),
        what="all to be begun",
    )
    return jobs


def all_ended_once(system: Cluster, gate: Gate, jobs: list[str], names: list[str]) -> None:
    """See that both controllers show one good end of each, and that none was run twice."""
    for job in jobs:
        for node in (ONE, TWO):
            assert end(system, job, node) == ("ok", None)
        shown = [moment["event"] for moment in system.job(job)["timeline"]]
        assert shown.count("completed") == 2
    for name in names:
        for effect in CHANGES:
            assert {counts(gate, name, effect, node) for node in (ONE, TWO)} == {(1, 1)}


def test_while_a_controller_is_frozen_reports_reach_the_other_and_nothing_is_known_twice(
    system: Cluster, gate: Gate, other: httpx.Client, name: str
) -> None:
    names = [f"{name}-{number}" for number in range(4)]
    jobs = begun(system, gate, system.admin, names)
    (frozen,) = system.controllers
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(other.get, f"/job/{jobs[0]}", headers={"Prefer": LONG})
        frozen.signal(signal.SIGSTOP)
        try:
            for each in names:
                let_go(gate, each)
            for job in jobs:
                assert system.ended(job)["status"] == "completed"
        finally:
            frozen.signal(signal.SIGCONT)
        assert waiting.result().json()["status"] == "completed"
    all_ended_once(system, gate, jobs, names)


def test_a_controller_that_is_cut_off_from_the_nodes_leaves_them_to_the_other(
    system: Cluster, gate: Gate, other: httpx.Client, cable: Cable, name: str
) -> None:
    jobs = begun(system, gate, other, [name])
    cable.bar(NODES_USER)
    wait_until(
        lambda: "nodes' broker is out of reach" in other.get("/health/ready").text,
        what="the loss to be noticed",
    )
    let_go(gate, name)
    # What the nodes say it knows from the journal.
    all_ended_once(system, gate, jobs, [name])
    # What it is asked for is stored, and done by the other; what it would have to ask itself fails.
    changed = ask(other, ONE, "pass", f"{name}-late", prefer=LONG)
    assert [result["status"] for result in changed.json()["results"]] == ["ok"]
    assert "The broker is out of reach" in refused(ask(other, ONE, "look", name), 500)
    cable.admit(NODES_USER)
    wait_until(lambda: ask(other, ONE, "look", name).status_code == 200, what="it to ask again")
    ((result),) = ask(other, TWO, "once", f"{name}-then", prefer=LONG).json()["results"]
    assert result["status"] == "ok"


def test_a_controller_that_is_cut_off_from_the_journal_takes_no_reports_and_no_jobs(
    system: Cluster, gate: Gate, other: httpx.Client, cable: Cable, name: str
) -> None:
    names = [f"{name}-{number}" for number in range(4)]
    jobs = begun(system, gate, other, names)
    cable.bar(JOURNAL_USER)
    wait_until(
        lambda: "the broker is out of reach" in other.get("/health/ready").text,
        what="the loss to be noticed",
    )
    known = other.get(f"/job/{jobs[0]}").json()
    assert known["status"] != "completed"
    said = [len(agent.stderr) for agent in system.agents.values()]
    for each in names:
        let_go(gate, each)
    for job in jobs:
        assert system.ended(job)["status"] == "completed"
    # All were answered at the first try: nobody else is asked.
    for agent, length in zip(system.agents.values(), said, strict=True):
        assert "report not answered" not in agent.stderr[length:]
    # It says what it knows, and that it knows no more.
    assert other.get(f"/job/{jobs[0]}").json() == known
    refusal = ask(other, ONE, "once", f"{name}-late")
    assert refusal.status_code == 500
    assert "The broker is out of reach" in refusal.json()["error"]
    cable.admit(JOURNAL_USER)
    all_ended_once(system, gate, jobs, names)
    refused(system.admin.get(refusal.headers["Location"]), 404)
    assert counts(gate, f"{name}-late", "once") == (0, 0)
    wait_until(
        lambda: ask(other, ONE, "once", f"{name}-then").status_code == 202, what="jobs to be taken"
    )


def test_a_release_that_is_lost_is_sent_again(
    system: Cluster, gate: Gate, cable: Cable, name: str
) -> None:
    cable.deafen(AGENTS_USER)
    jobs = {effect: ask(system.admin, TWO, effect, name).json()["job_id"] for effect in EFFECTS}
    wait_until(
        lambda: all(job.encode() in bytes(cable.relay.lost) for job in jobs.values()),
        what="the releases to be lost",
    )
    cable.heal()
    assert ends(system, jobs, TWO) == dict.fromkeys(EFFECTS, "ok")
    assert {counts(gate, name, effect, TWO) for effect in EFFECTS} == {(1, 1)}


def test_what_ends_while_no_controller_is_there_is_reported_to_the_first_that_returns(
    system: Cluster, gate: Gate, other: httpx.Client, name: str
) -> None:
    hold(gate, name)
    jobs = asked(system.admin, ONE, name)
    all_begun(gate, name)
    both = [system.controller, *system.controllers]
    for process in both:
        process.kill()
    let_go(gate, name)
    wait_until(
        lambda: all(counts(gate, name, effect)[1] for effect in CHANGES), what="both to pass"
    )
    for process in both:
        process.start()
    for process in both:
        process.wait_for_output("answers at")
    system.wait_here(ONE, TWO)
    for effect in CHANGES:
        assert end(system, jobs[effect]) == ("ok", None)
        assert counts(gate, name, effect) == (1, 1)
    listed = system.admin.get("/job?limit=20").json()
    wait_until(partial(shows, other, "/job?limit=20", listed), what="the same jobs")


def is_doubled(client: httpx.Client) -> bool:
    known = client.get("/agent").raise_for_status().json()["agents"]
    return {node["hostname"] for node in known if "second_agent_at" in node} == {ONE}


def test_a_copy_of_an_agent_is_refused_and_takes_the_place_of_nobody(
    system: Cluster, gate: Gate, name: str
) -> None:
    copied = system.copy_node(ONE)
    with copied:
        wait_until(
            lambda: f"another agent with the machine id {system.machine_id(ONE)}" in copied.stderr,
            what="the copy to be refused",
        )
        assert ends(system, asked(system.admin, ONE, name)) == dict.fromkeys(EFFECTS, "ok")
        for client in (system.admin, *system.others):
            wait_until(partial(is_doubled, client), what="every controller to show it")
        known = system.admin.get("/agent").json()["agents"]
        assert {node["hostname"] for node in known} == {ONE, TWO}
    assert "task ended" not in copied.stderr
    assert {counts(gate, name, effect) for effect in EFFECTS} == {(1, 1)}
    assert {gate.begun(f"{name}-{effect}", f"{ONE}-copy") for effect in EFFECTS} == {0}


def test_an_agent_without_its_ledger_runs_again_what_may_be_run_twice_and_nothing_else(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    jobs = {effect: ask(system.admin, ONE, effect, name).json()["job_id"] for effect in CHANGES}
    wait_until(lambda: all(counts(gate, name, effect)[0] for effect in jobs), what="both begun")
    agent = system.agents[ONE]
    agent.kill()
    for path in (system.directory / f"agent-{ONE}").glob("ledger.sqlite*"):
        path.unlink()
    let_go(gate, name)
    agent.start()
    assert end(system, jobs["pass"]) == ("ok", None)
    status, why = end(system, jobs["once"])
    assert (status, str(why).partition(",")[0]) == ("failed", "the ledger was lost")
    assert [counts(gate, name, effect) for effect in CHANGES] == [(2, 1), (1, 0)]
