"""Passages of gates asked for while parts die, and what is known of their ends."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from typing import TypeVar

import httpx
import nats
from nats.aio.client import Client

from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import TowlineProcess, wait_until

ONE, TWO = "one", "two"
EFFECTS = ("pass", "once", "look")
LONG = "wait=3000"
T = TypeVar("T")


def ask(
    client: httpx.Client, target: str, effect: str, name: str, *, prefer: str = "respond-async"
) -> httpx.Response:
    """Ask for a passage; each effect has a gate of its own, `<name>-<effect>`."""
    name, headers = f"{name}-{effect}", {"Prefer": prefer}
    if effect == "look":
        return client.get(f"/node/{target}/gate", params={"name": name}, headers=headers)
    return client.post(f"/node/{target}/gate/{effect}", json={"name": name}, headers=headers)


def asked(client: httpx.Client, target: str, name: str) -> dict[str, str]:
    """Ask for a passage of each effect; return the jobs' ids."""
    answers = {effect: ask(client, target, effect, name) for effect in EFFECTS}
    assert all(answer.is_success for answer in answers.values()), answers
    return {effect: answer.json()["job_id"] for effect, answer in answers.items()}


def hold(gate: Gate, name: str) -> None:
    """Hold back the passages of every effect."""
    for effect in EFFECTS:
        gate.hold(f"{name}-{effect}")


def let_go(gate: Gate, name: str) -> None:
    """Let the passages of every effect go on."""
    for effect in EFFECTS:
        gate.open(f"{name}-{effect}")


def counts(gate: Gate, name: str, effect: str, node: str = ONE) -> tuple[int, int]:
    """Return how often a passage was begun, and how often it came to its end."""
    return gate.begun(f"{name}-{effect}", node), gate.passed(f"{name}-{effect}", node)


def all_begun(gate: Gate, name: str, node: str = ONE) -> None:
    """Wait until the passages of every effect have begun on a node."""
    wait_until(
        lambda: all(counts(gate, name, effect, node)[0] for effect in EFFECTS),
        what="all to be begun",
    )


def end(cluster: Cluster, job: str, node: str = ONE) -> tuple[str, str | None]:
    """Wait for a job's end, which all controllers show alike; return its status on a node."""
    body = cluster.ended(job)
    for client in cluster.others:
        wait_until(partial(shows, client, f"/job/{job}", body), what="the others to agree")
    found = {result["hostname"]: result for result in body["results"]}
    return found[node]["status"], found[node].get("error") or found[node].get("reason")


def shows(client: httpx.Client, path: str, body: object) -> bool:
    """Whether an answer is just this."""
    return bool(client.get(path).json() == body)


def ends(cluster: Cluster, jobs: dict[str, str], node: str = ONE) -> dict[str, str]:
    """Wait for the ends of jobs; return their statuses on a node, by effect."""
    return {effect: end(cluster, job, node)[0] for effect, job in jobs.items()}


def at_broker(cluster: Cluster, work: Callable[[Client], Awaitable[T]]) -> T:
    """Do something at the broker over a connection of our own."""

    async def main() -> T:
        user, _, password = cluster.broker.credentials.read_text().partition(":")
        client = await nats.connect(cluster.broker.url, user=user, password=password)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(main())


def machine(cluster: Cluster, node: str = ONE) -> str:
    """Return a node's machine id."""
    return cluster.machine_id(node)


def outbox(cluster: Cluster, node: str = ONE) -> int:
    """Return how many events stand in a node's ledger."""
    path = cluster.directory / f"agent-{node}" / "ledger.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        return int(ledger.execute("SELECT count(*) FROM outbox").fetchone()[0])


def answering(process: TowlineProcess, client: httpx.Client, nodes: int = 2) -> None:
    """Wait until a controller that was started again knows all nodes."""
    process.wait_for_output("answers at")

    def here() -> bool:
        known = client.get("/agent").json()["agents"]
        return [node["status"] for node in known].count("Ready") >= nodes

    wait_until(here, what="the nodes to be known")
