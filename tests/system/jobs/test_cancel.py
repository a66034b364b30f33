"""Jobs that are cancelled."""

from tests.system.jobs.asking import NODES, Ask, job_id
from tests.testing.answers import refused, statuses
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until


def test_what_runs_is_stopped_on_every_node(jobs: Cluster, gate: Gate, ask: Ask, held: str) -> None:
    job = job_id(ask("_all", wait=0))
    wait_until(lambda: all(gate.begun(held, node) for node in NODES), what="all to be begun")
    answer = jobs.writer.post(f"/job/{job}/cancel")
    assert answer.status_code == 200
    assert answer.headers["Location"] == f"/job/{job}"
    body = answer.json()
    assert body["job_id"] == job
    assert body["status"] == "failed"
    assert statuses(body) == dict.fromkeys(NODES, "cancelled")
    assert {result["reason"] for result in body["results"]} == {"cancelled by tests"}
    assert all(gate.stopped(held, node) == 1 for node in NODES)

    again = jobs.writer.post(f"/job/{job}/cancel")
    assert again.status_code == 200
    assert again.json() == body
    assert jobs.job(job)["results"] == body["results"]


def test_a_job_for_any_node_is_stopped_on_the_one_that_has_it(
    jobs: Cluster, gate: Gate, ask: Ask, held: str
) -> None:
    job = job_id(ask("_any", wait=0))
    wait_until(lambda: any(gate.begun(held, node) for node in NODES), what="one to be begun")
    (result,) = jobs.writer.post(f"/job/{job}/cancel").json()["results"]
    assert result["status"] == "cancelled"
    assert gate.stopped(held, result["hostname"]) == 1
    assert sum(gate.begun(held, node) for node in NODES) == 1


def test_a_read_is_stopped_too(jobs: Cluster, gate: Gate, held: str) -> None:
    headers = {"Prefer": "respond-async"}
    answer = jobs.reader.get(f"/node/one/gate?name={held}", headers=headers)
    job = job_id(answer)
    wait_until(lambda: gate.begun(held, "one") == 1, what="it to be begun")
    # Whoever made it may stop it.
    (result,) = jobs.reader.post(f"/job/{job}/cancel").json()["results"]
    assert result["status"] == "cancelled"
    assert gate.stopped(held, "one") == 1


def test_what_has_ended_is_not_cancelled(jobs: Cluster, ask: Ask) -> None:
    job = job_id(ask("_all"))
    assert "completed" in refused(jobs.writer.post(f"/job/{job}/cancel"), 409)
    assert jobs.job(job)["status"] == "completed"


def test_whoever_made_a_job_may_cancel_it_and_others_need_job_admin(
    jobs: Cluster, ask: Ask, held: str
) -> None:
    job = job_id(ask("one", "once", wait=0))
    for others in (["docker:write", "gate:execute", "job:read", "job:write"], ["job:admin@two"]):
        other = jobs.client(jobs.token(permissions=others, subject="other"))
        assert "job:admin" in refused(other.post(f"/job/{job}/cancel"), 403)
    assert refused(jobs.anyone.post(f"/job/{job}/cancel"), 401)
    own = jobs.client(jobs.token(permissions=[]))
    assert own.post(f"/job/{job}/cancel").status_code == 200
    other = jobs.client(jobs.token(permissions=["job:admin@one"], subject="other"))
    assert other.post(f"/job/{job}/cancel").status_code == 200


def test_a_node_that_is_away_is_cancelled_when_it_returns(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    agent = jobs.agents["three"]
    assert agent.stop() == 0
    jobs.wait_away("three")
    try:
        job = job_id(ask("_all"))
        answer = jobs.writer.post(f"/job/{job}/cancel", headers={"Prefer": "wait=3000"})
        found = {result["hostname"]: result for result in answer.json()["results"]}
        assert found["one"]["status"] == "ok"
        assert found["three"]["status"] == "pending"
        assert "cancelled when it returns" in found["three"]["reason"]
        # Late enough for the node to know that its job has waited.
        second = job_id(ask("three", wait=0))
        assert jobs.writer.post(f"/job/{second}/cancel").json()["results"][0]["status"] == "pending"
    finally:
        agent.start()
    assert statuses(jobs.ended(job)) == {"one": "ok", "two": "ok", "three": "cancelled"}
    assert statuses(jobs.ended(second)) == {"three": "cancelled"}
    assert gate.passed(name, "three") == 0
    jobs.wait_here("three")
