"""How far jobs are that gates hold back, as controllers show it."""

from typing import Any

import httpx

from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until
from towline.wire.progress import DOWNLOADING, Part, TaskProgress

NODES = ("one", "two")
JSON = {"Accept": "application/json"}


def a_report(fetched: int, rate: int = 10) -> TaskProgress:
    """Return a report of one layer of 100 bytes, so many of them fetched."""
    parts = [Part("1de5d1d5e9ce", DOWNLOADING, fetched, 100)]
    return TaskProgress(DOWNLOADING, parts=parts, fetched=fetched, size=100, rate=rate, left=7)


def begin(cluster: Cluster, gate: Gate, name: str, target: str = "_all") -> str:
    """Begin a job that is held back, and return its id when it runs on every node it is for."""
    headers = {"Prefer": "respond-async"}
    answer = cluster.admin.post(f"/node/{target}/gate/pass", json={"name": name}, headers=headers)
    job = str(answer.json()["job_id"])
    nodes = NODES if target == "_all" else [target]
    wait_until(lambda: all(gate.begun(name, node) for node in nodes), what="all to be begun")
    return job


def snapshot(client: httpx.Client, job: str, query: str = "") -> dict[str, Any]:
    """Return what a controller shows of a job's progress just now."""
    answer = client.get(f"/job/{job}/progress{query}", headers=JSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    picture: dict[str, Any] = answer.json()
    return picture


def fetched(picture: dict[str, Any]) -> dict[str, int]:
    """Return how many bytes each node has fetched."""
    return {node["hostname"]: node.get("fetched", 0) for node in picture["nodes"]}
