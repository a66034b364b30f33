"""Jobs in waves that are paused and resumed."""

from functools import partial

import pytest

from tests.system.rollout.waves import (
    NODES,
    begun,
    declined,
    hold,
    kinds,
    let_go,
    made,
    now,
    reasons,
    shows,
    steer,
    wait_begun,
)
from tests.testing.answers import statuses
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until


def test_a_paused_job_releases_nobody_until_it_is_resumed(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    ann = system.client(system.token("write", subject="ann"))
    job = made(ann, name, "max_parallel=1")
    wait_begun(gate, name, "a1")
    answer = steer(ann, job, "pause")
    assert answer.status_code == 200, answer.text
    assert answer.json()["message"] == "Paused: 4 of 5 nodes wait for their turn, 1 go on."
    declined(steer(system.others[0], job, "pause"), 409, "is paused already", "by ann")
    let_go(gate, name, "a1")
    wait_until(lambda: statuses(now(system, job))["a1"] == "ok")
    for client in (system.admin, system.others[0]):
        wait_until(partial(shows, client, job, "paused"))
        seen = client.get(f"/job/{job}").json()
        assert seen["paused"]["by"] == "ann"
        assert reasons(seen)["a2"] == f"paused by ann since {seen['paused']['since']}"
    assert begun(gate, name) == ["a1"]
    let_go(gate, name)
    assert steer(system.others[0], job, "resume").status_code == 200
    ended = system.ended(job)
    assert set(statuses(ended).values()) == {"ok"}
    assert "paused" not in ended
    steps = {moment["event"]: moment.get("message") for moment in ended["timeline"]}
    assert (steps["paused"], steps["resumed"]) == ("by ann", "by tests")
    for what in ("pause", "resume"):
        declined(steer(system.admin, job, what), 409, "has ended already")


def test_a_paused_job_expires(system: Cluster, gate: Gate, name: str) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=1&expires=3s")
    wait_begun(gate, name, "a1")
    assert steer(system.admin, job, "pause").is_success
    wait_until(lambda: statuses(now(system, job))["a2"] == "expired")
    declined(steer(system.admin, job, "resume"), 409, "No node of job", "waits any more")
    let_go(gate, name)
    ended = system.ended(job)
    assert statuses(ended) == dict(zip(NODES, ["ok", *4 * ["expired"]], strict=True))
    assert begun(gate, name) == ["a1"]


@pytest.mark.parametrize("what", ["pause", "resume"])
def test_only_a_job_whose_nodes_wait_can_be_paused(
    system: Cluster, gate: Gate, name: str, what: str
) -> None:
    gate.hold(name)
    job = made(system.admin, name, "")
    declined(steer(system.admin, job, what), 409, "No node of job", "`max_parallel` or `canary`")
    wave = made(system.admin, name, "max_parallel=100%25")
    wait_until(lambda: "released" in kinds(now(system, wave)))
    declined(steer(system.admin, wave, what), 409, "waits any more")
    reader = system.client(system.token("read", subject="eve"))
    declined(steer(reader, wave, what), 403, "job:admin")
    declined(steer(system.admin, "0" * 8 + wave[8:], what), 404, "There is no job")
    gate.open(name)
    system.ended(job)
    system.ended(wave)
