"""How long an answer takes its time, as `Prefer` asks (RFC 7240)."""

import pytest

from tests.system.jobs.asking import job_id
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate

ORDERS = [
    ["respond-async, wait=1"],
    ["wait=1, respond-async"],
    ["respond-async", "wait=1"],
    ["wait=1", "respond-async"],
]


@pytest.mark.parametrize("lines", ORDERS, ids=", then ".join)
def test_a_wait_and_respond_async_together_mean_the_same_in_any_order(
    jobs: Cluster, gate: Gate, held: str, lines: list[str]
) -> None:
    headers = [("Prefer", line) for line in lines]
    # Not for longer than asked: the usual wait would last until the client has no patience.
    answer = jobs.admin.post("/node/one/gate/pass", json={"name": held}, headers=headers)
    assert answer.headers["Preference-Applied"] == "respond-async, wait=1"
    # Nor at once: then the node would not have begun.
    assert gate.begun(held, "one") == 1
    (result,) = answer.json()["results"]
    assert result["status"] == "running"
    gate.open(held)
    job = jobs.admin.get(f"/job/{job_id(answer)}", headers=[("Prefer", "wait=60"), headers[0]])
    assert job.json()["results"][0]["status"] == "ok"
    assert "wait=60" in job.headers["Preference-Applied"]


def test_a_wait_ends_with_the_last_node_beside_respond_async_too(jobs: Cluster, name: str) -> None:
    headers = [("Prefer", "respond-async"), ("Prefer", "wait=3000")]
    answer = jobs.admin.post("/node/_all/gate/pass", json={"name": name}, headers=headers)
    assert {result["status"] for result in answer.json()["results"]} == {"ok"}
