"""Passages of gates asked for in waves, and what is known of their nodes."""

from typing import Any

import httpx

from tests.testing.answers import refused
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until

NODES = ("a1", "a2", "a3", "a4", "a5")
BOTH = "kind:both"


def ask(
    client: httpx.Client,
    name: str,
    query: str,
    *,
    target: str = "_all",
    effect: str = "pass",
    **headers: str,
) -> httpx.Response:
    """Ask for a passage in waves."""
    url, headers = f"/node/{target}/gate", {"Prefer": "respond-async", **headers}
    if effect == "look":
        return client.get(f"{url}?name={name}&{query}", headers=headers)
    return client.post(f"{url}/{effect}?{query}", json={"name": name}, headers=headers)


def made(client: httpx.Client, name: str, query: str, **more: Any) -> str:
    """Ask for a passage in waves; return the job's id."""
    answer = ask(client, name, query, **more)
    assert answer.is_success, answer.text
    return str(answer.json()["job_id"])


def begun(gate: Gate, name: str) -> list[str]:
    """Return the nodes that have begun, each as often as it has."""
    return [node for node in NODES for _ in range(gate.begun(name, node))]


def hold(gate: Gate, name: str, *nodes: str) -> None:
    """Hold each of these nodes back by itself, all where none is named."""
    for node in nodes or NODES:
        gate.hold(f"{name}@{node}")


def let_go(gate: Gate, name: str, *nodes: str) -> None:
    """Let each of these nodes go on, all where none is named."""
    for node in nodes or NODES:
        gate.open(f"{name}@{node}")


def wait_begun(gate: Gate, name: str, *nodes: str) -> None:
    """Wait until just these nodes have begun."""
    wait_until(lambda: begun(gate, name) == list(nodes), what=f"{nodes} to have begun {name}")


def reasons(job: dict[str, Any]) -> dict[str, str]:
    """Return what each node's result says of why it is so."""
    return {
        result["hostname"]: result.get("error") or result.get("reason", "")
        for result in job["results"]
    }


def now(cluster: Cluster, job: str) -> dict[str, Any]:
    """Return a job as it is at this moment."""
    return cluster.job(job, wait=0)


def kinds(job: dict[str, Any]) -> list[str]:
    """Return the kinds of a job's events, in order."""
    return [moment["event"] for moment in job["timeline"]]


def declined(answer: httpx.Response, status: int, *texts: str) -> None:
    """See that an answer is an error that says all of this."""
    said = refused(answer, status)
    for text in texts:
        assert text in said


def shows(client: httpx.Client, job: str, field: str) -> bool:
    """Whether a controller's answer on a job has a field."""
    return field in client.get(f"/job/{job}").json()


def steer(client: httpx.Client, job: str, what: str) -> httpx.Response:
    """Ask for a job to be paused, resumed or cancelled."""
    return client.post(f"/job/{job}/{what}")
