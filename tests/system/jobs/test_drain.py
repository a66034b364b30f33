"""Nodes that are drained."""

from functools import partial

import httpx

from tests.system.jobs.asking import Ask, job_id
from tests.testing.answers import refused, statuses
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until


def is_drained(client: httpx.Client, node: str) -> bool:
    return bool(client.get(f"/agent/{node}").json()["state"] != "Ready")


def test_a_drained_node_takes_no_work_and_says_so(
    jobs: Cluster, gate: Gate, ask: Ask, held: str
) -> None:
    running = job_id(ask("two", wait=0))
    wait_until(lambda: gate.begun(held, "two") == 1)
    answer = jobs.admin.post("/agent/two/drain")
    assert answer.status_code == 200
    assert "two" in answer.json()["message"]
    try:
        for client in (jobs.admin, *jobs.others):
            wait_until(partial(is_drained, client, "two"), what="word of it")
        wait_until(lambda: jobs.admin.get("/agent/two").json()["state"] == "Draining")
        refused(jobs.admin.post("/agent/two/drain"), 409)
        assert "undrain" in ask("two").json()["details"]
        refused(ask("two"), 400)
        gate.open(held)
        assert statuses(jobs.ended(running)) == {"two": "ok"}
        wait_until(lambda: jobs.admin.get("/agent/two").json()["state"] == "Cordoned")

        answer = ask("_all")
        assert statuses(answer.json()) == {"one": "ok", "two": "skipped", "three": "ok"}
        for _ in range(8):
            (result,) = ask("_any").json()["results"]
            assert result["hostname"] != "two"
        assert jobs.reader.get("/node/two/load").json()["results"][0]["status"] == "ok"
        # It stays so over restarts of all parts.
        agent = jobs.agents["two"]
        agent.stop()
        agent.start()
        jobs.wait_here("two")
        assert jobs.admin.get("/agent/two").json()["state"] == "Cordoned"
    finally:
        gate.open(held)
        assert jobs.admin.post("/agent/two/undrain").status_code == 200
    refused(jobs.admin.post("/agent/two/undrain"), 409)
    assert statuses(ask("two").json()) == {"two": "ok"}
    moments = [moment["event"] for moment in jobs.admin.get("/agent/two").json()["timeline"]]
    assert "undrained" in moments


def test_to_drain_takes_its_permission_and_one_node(jobs: Cluster) -> None:
    for what in ("drain", "undrain"):
        assert "agent:write" in refused(jobs.writer.post(f"/agent/one/{what}"), 403)
        refused(jobs.admin.post(f"/agent/nobody/{what}"), 404)
        for target in ("_all", "_any", "group:gate", "a b"):
            refused(jobs.admin.post(f"/agent/{target}/{what}"), 400)


def test_one_node_is_found_by_name_and_by_machine_id(jobs: Cluster) -> None:
    node = jobs.reader.get("/agent/one").json()
    assert jobs.reader.get(f"/agent/{node['machine_id']}").json()["hostname"] == "one"
    assert node["state"] == "Ready"
    assert node["memory"]["total"] > node["memory"]["used"] > 0
    assert set(node["load_average"]) == {"1min", "5min", "15min"}
    refused(jobs.reader.get("/agent/nobody"), 404)
