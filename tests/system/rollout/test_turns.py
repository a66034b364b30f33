"""Jobs in waves: so many nodes at a time, a few first, a stop when too many fail."""

from functools import partial

import pytest

from tests.system.rollout.waves import (
    BOTH,
    NODES,
    ask,
    begun,
    hold,
    kinds,
    let_go,
    made,
    now,
    reasons,
    shows,
    wait_begun,
)
from tests.testing.answers import statuses
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until


def test_so_many_at_a_time_and_those_that_wait_say_so(
    system: Cluster, gate: Gate, name: str
) -> None:
    gate.hold(name)
    job = made(system.admin, name, "max_parallel=2")
    wait_begun(gate, name, "a1", "a2")
    wait_until(lambda: statuses(now(system, job))["a2"] == "running")
    seen = now(system, job)
    assert statuses(seen) == dict(
        zip(NODES, ["running", "running", "pending", "pending", "pending"], strict=True)
    )
    assert {reasons(seen)[node] for node in NODES[2:]} == {"waits: 2 at a time"}
    assert {result.get("waits") for result in seen["results"][2:]} == {"max_parallel"}
    assert seen["waves"] == {"max_parallel": "2"}
    gate.open(name)
    ended = system.ended(job)
    assert set(statuses(ended).values()) == {"ok"}
    assert begun(gate, name) == list(NODES)
    messages = [m["message"] for m in ended["timeline"] if m["event"] == "released"]
    assert messages[0] == "2 nodes: a1, a2"
    # Never more than two between their start and their end.
    going = 0
    for kind in kinds(ended):
        going += (kind == "started") - (kind == "completed")
        assert going <= 2
    assert all("waits" not in result for result in ended["results"])


def test_a_canary_goes_first_and_alone(system: Cluster, gate: Gate, name: str) -> None:
    hold(gate, name, "a1", "a2")
    job = made(system.others[0], name, "canary=2")
    wait_begun(gate, name, "a1", "a2")
    let_go(gate, name, "a1")
    wait_until(lambda: statuses(now(system, job))["a1"] == "ok")
    seen = now(system, job)
    assert {reasons(seen)[node] for node in NODES[2:]} == {"waits for the canary"}
    assert begun(gate, name) == ["a1", "a2"]
    let_go(gate, name, "a2")
    ended = system.ended(job)
    assert set(statuses(ended).values()) == {"ok"}
    messages = [m["message"] for m in ended["timeline"] if m["event"] == "released"]
    assert messages == ["2 canary: a1, a2", "3 nodes: a3, a4, a5"]


def test_a_failed_canary_stops_the_rest(system: Cluster, gate: Gate, name: str) -> None:
    gate.damage(f"{name}@a1")
    ended = system.ended(made(system.admin, name, "canary=1"))
    assert statuses(ended) == dict(zip(NODES, ["failed", *4 * ["cancelled"]], strict=True))
    assert {reasons(ended)[node] for node in NODES[1:]} == {"cancelled: 1 of 1 canary nodes failed"}
    assert begun(gate, name) == ["a1"]
    assert ended["status"] == "failed"
    wait_until(lambda: system.others[0].get(f"/job/{ended['id']}").json() == ended)


def test_past_max_failures_the_rest_is_cancelled_and_what_runs_goes_on(
    system: Cluster, gate: Gate, name: str
) -> None:
    for node in ("a1", "a2"):
        gate.damage(f"{name}@{node}")
    # The fourth has its turn if the first failure is known before the second: it must not end, and
    # so give the fifth a turn, before both are.
    hold(gate, name, "a3", "a4")
    job = made(system.admin, name, "max_parallel=3&max_failures=20%25")
    wait_until(lambda: statuses(now(system, job))["a5"] == "cancelled")
    wait_until(lambda: statuses(now(system, job))["a3"] == "running")
    let_go(gate, name, "a3", "a4")
    ended = system.ended(job)
    assert [statuses(ended)[node] for node in ("a1", "a2", "a3", "a5")] == [
        *("failed", "failed", "ok", "cancelled")
    ]
    assert reasons(ended)["a5"] == "cancelled: 2 of 5 nodes failed, more than max_failures=1"
    assert ended["status"] == "partial_failure"


def test_a_cancelled_job_ends_at_once_where_it_waits_and_is_stopped_where_it_runs(
    system: Cluster, gate: Gate, name: str
) -> None:
    gate.hold(name)
    job = made(system.admin, name, "max_parallel=2")
    wait_begun(gate, name, "a1", "a2")
    answer = system.others[0].post(f"/job/{job}/cancel", headers={"Prefer": "wait=30"})
    assert statuses(answer.json()) == dict.fromkeys(NODES, "cancelled")
    assert set(reasons(answer.json()).values()) == {"cancelled by tests"}
    assert begun(gate, name) == ["a1", "a2"]
    assert [gate.stopped(name, node) for node in NODES] == [1, 1, 0, 0, 0]
    ended = system.ended(job)
    assert kinds(ended).count("cancelled") == 2
    again = system.admin.post(f"/job/{job}/cancel")
    assert statuses(again.json()) == dict.fromkeys(NODES, "cancelled")


def test_a_node_that_is_away_holds_up_nobody_and_has_its_turn_when_it_returns(
    system: Cluster, gate: Gate, name: str
) -> None:
    system.agents["a1"].stop()
    system.wait_away("a1")
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=2")
    wait_begun(gate, name, "a2", "a3")
    seen = now(system, job)
    assert reasons(seen)["a1"].startswith("not reachable since")
    assert "waits" not in seen["results"][0]
    system.agents["a1"].start()
    system.wait_here("a1")
    wait_begun(gate, name, "a2", "a3")
    let_go(gate, name, "a2")
    wait_begun(gate, name, "a1", "a2", "a3")
    let_go(gate, name)
    assert set(statuses(system.ended(job)).values()) == {"ok"}
    assert begun(gate, name) == list(NODES)


def test_a_node_that_dies_at_work_keeps_its_place(system: Cluster, gate: Gate, name: str) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=1")
    wait_until(lambda: statuses(now(system, job))["a1"] == "running")
    system.agents["a1"].kill()
    system.wait_away("a1")
    assert begun(gate, name) == ["a1"]
    system.agents["a1"].start()
    system.wait_here("a1")
    let_go(gate, name)
    assert set(statuses(system.ended(job)).values()) == {"ok"}
    # What converges runs again on the node that died amid it, and nowhere else.
    assert begun(gate, name) == ["a1", *NODES]


def test_a_node_that_was_drained_before_its_turn_is_skipped(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=1&max_failures=0")
    wait_begun(gate, name, "a1")
    assert system.admin.post("/agent/a2/drain").is_success
    try:
        let_go(gate, name)
        ended = system.ended(job)
    finally:
        assert system.admin.post("/agent/a2/undrain").is_success
    assert statuses(ended) == dict(zip(NODES, ["ok", "skipped", "ok", "ok", "ok"], strict=True))
    assert "drained since" in reasons(ended)["a2"]


@pytest.mark.parametrize("effect", ["look", "once"])
def test_what_is_not_kept_for_nodes_that_are_away_fails_there_when_it_comes_to_them(
    system: Cluster, gate: Gate, name: str, effect: str
) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=1&max_failures=0", effect=effect)
    wait_begun(gate, name, "a1")
    system.agents["a3"].stop()
    system.wait_away("a3")
    let_go(gate, name)
    ended = system.ended(job)
    system.agents["a3"].start()
    assert statuses(ended) == dict(zip(NODES, ["ok", "ok", "failed", "ok", "ok"], strict=True))
    assert "not kept for nodes that are away" in reasons(ended)["a3"]
    assert begun(gate, name) == ["a1", "a2", "a4", "a5"]
    # From its making it has as long as what is kept: each node has its own time from its turn on.
    assert ended["expires"][:10] > ended["created"][:10]
    system.wait_here("a3")


def test_a_request_waits_for_nodes_that_wait_for_their_turn(
    system: Cluster, gate: Gate, name: str
) -> None:
    for client in (system.admin, system.others[0]):
        answer = ask(client, name, "max_parallel=1&canary=1", Prefer="wait=60")
        assert statuses(answer.json()) == dict.fromkeys(NODES, "ok")
        job = answer.json()["job_id"]
        for other in (system.admin, system.others[0]):
            seen = other.get(f"/job/{job}", headers={"Prefer": "wait=60"}).json()
            assert seen["status"] == "completed"
    assert begun(gate, name) == [node for node in NODES for _ in range(2)]


def test_a_label_is_done_in_waves_too(system: Cluster, gate: Gate, name: str) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=50%25", target=BOTH)
    wait_begun(gate, name, "a1")
    let_go(gate, name)
    assert statuses(system.ended(job)) == {"a1": "ok", "a2": "ok"}
    assert begun(gate, name) == ["a1", "a2"]


def test_a_deleted_job_leaves_nothing_of_it_in_the_journal(
    system: Cluster, gate: Gate, name: str
) -> None:
    job = made(system.admin, name, "max_parallel=2")
    system.ended(job)
    both = {f"job.{job}", f"decision.{job}"}
    assert system.broker.subjects("CHANGES", f"*.{job}") == both
    assert system.admin.delete(f"/job/{job}").status_code == 204
    assert system.broker.subjects("CHANGES", f"*.{job}") == {f"decision.{job}"}
    for client in (system.admin, system.others[0]):
        wait_until(partial(shows, client, job, "error"))
