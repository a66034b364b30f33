"""How a controller says that it is, and what it works with."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.testing.answers import refused
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.command import CommandLine, rows
from tests.testing.marks import ONE_KIND
from tests.testing.process import wait_until
from towline import __version__
from towline.client import Client
from towline.endpoints import health

NO_ENGINE = "no reachable node has a Docker Engine"
BUCKETS = {
    *("cooldowns", "credentials", "invites", "leases", "members"),
    *("nodes", "requests", "set_states", "sets", "signs", "states", "tokens"),
}


def status(cluster: Cluster, code: int) -> dict[str, Any]:
    answer = cluster.reader.get("/health/status")
    assert answer.status_code == code, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_everybody_may_ask_for_the_version(one: Cluster, prefix: str) -> None:
    answer = one.anyone.get(f"{prefix}/version")
    assert (answer.status_code, answer.json()) == (200, {"version": __version__})


@ONE_KIND
def test_where_a_pull_would_work_all_is_well(cluster: Cluster) -> None:
    found = status(cluster, 200)
    assert found["status"] == "ok"
    assert "error" not in found
    components = found["components"]
    assert components.keys() == {"nats", "nodes", "journal", "index", "agents"}
    assert {each["status"] for each in components.values()} == {"ok"}
    assert components["nats"]["address"] == components["nodes"]["address"] == cluster.broker.url
    assert {each["status"] for each in found["registry"]} == {"Ready"}


def test_it_says_what_the_broker_holds(one: Cluster) -> None:
    before = status(one, 503)
    made = one.reader.get("/node/_all/load").json()["job_id"]
    assert one.ended(made)["status"] == "completed"
    assert one.pull("one", "nginx").json()["results"][0]["status"] == "skipped"
    found = status(one, 503)
    assert found["version"] == __version__
    assert found["uptime"].startswith("0d 0h ")
    assert found["nats"]["url"] == one.broker.url
    assert found["nats"]["version"][0].isdigit()

    def messages(of: dict[str, Any]) -> dict[str, int]:
        return {each["name"]: each["messages"] for each in of["streams"]}

    assert messages(found)["READS"] == messages(before)["READS"] + 1
    assert messages(found)["CHANGES"] > messages(before)["CHANGES"]
    of_jobs = [each for each in found["streams"] if each["name"] in ("CHANGES", "READS")]
    assert all(each["bytes"] > 0 and each["consumers"] == 1 for each in of_jobs)
    keys = {each["name"]: each["keys"] for each in found["kv_buckets"]}
    assert keys.keys() == BUCKETS
    assert (keys["nodes"], keys["leases"]) == (1, 1)
    consumers = found["consumers"]
    assert consumers["total"] == len(consumers["consumers"]) >= len(found["streams"])
    assert {each["pending"] for each in consumers["consumers"]} == {0}

    assert found["jobs"]["total"] == before["jobs"]["total"] + 2
    assert found["jobs"]["completed"] > before["jobs"]["completed"]
    parts = ("unprocessed", "processing", "completed", "failed")
    assert found["jobs"]["total"] == sum(found["jobs"][each] for each in parts)
    assert found["jobs"]["dlq"] == 0


def test_it_says_which_processes_there_are(one: Cluster) -> None:
    found = status(one, 503)
    node = one.node("one")
    assert node is not None
    registered = {"hostname": "one", "labels": "group:web", "registered": node["registered_at"]}
    assert found["agents"] == {"total": 1, "ready": 1, "agents": [registered]}
    controller, agent = found["registry"]
    # It can't do what controllers are most of all for: no node has an engine.
    assert (controller["type"], controller["status"]) == ("controller", "NotReady")
    assert (agent["type"], agent["hostname"], agent["status"]) == ("agent", "one", "Ready")

    def agrees() -> bool:
        node, (_, agent) = one.node("one"), status(one, 503)["registry"]
        assert node is not None
        short = [each["type"] for each in node["conditions"] if each["status"]]
        return bool(agent.get("conditions", []) == short)

    # A heartbeat may come between the two.
    wait_until(agrees, what="both to say the same of the node")


def test_it_says_what_is_not_well_as_readiness_does(one: Cluster) -> None:
    found = status(one, 503)
    assert found["status"] == "degraded"
    assert found["error"] == one.anyone.get("/health/ready").json()["error"] == NO_ENGINE
    assert found["components"]["agents"] == {"status": "error", "error": NO_ENGINE}
    others = {name: each["status"] for name, each in found["components"].items()}
    assert others == dict.fromkeys(("nats", "nodes", "journal", "index"), "ok") | {
        "agents": "error"
    }


def test_it_takes_a_permission(one: Cluster) -> None:
    assert one.client(one.token(permissions=["health:read"])).get("/health/status").is_server_error
    bare = one.client(one.token(permissions=["agent:read"]))
    assert "health:read" in refused(bare.get("/health/status"), 403)
    refused(one.anyone.get("/health/status"), 401)


def test_without_the_broker_it_says_what_is_known_all_the_same(tmp_path: Path) -> None:
    with Cluster(tmp_path, [NodePlan("one")]) as cluster:
        cluster.reader.get("/node/_all/load").raise_for_status()
        cluster.broker.stop()
        wait_until(
            lambda: "nats" not in status(cluster, 503), what="the controller to miss the broker"
        )
        found = status(cluster, 503)
        assert found["status"] == "degraded"
        assert "out of reach" in found["error"]
        assert found["components"]["nats"]["error"] == found["error"]
        assert found.keys().isdisjoint({"nats", "streams", "kv_buckets", "consumers"})
        assert found["jobs"]["completed"] == 1
        assert found["agents"]["total"] == 1
        _clients_have_it(cluster, found["error"].partition(": ")[0])
        cluster.broker.start()
        wait_until(lambda: "streams" in status(cluster, 503), what="the broker's return")


def _clients_have_it(cluster: Cluster, error: str) -> None:
    """By a client and on the command line it is to be seen what is wrong, and no error is.

    `error` begins with what is wrong; how the last try failed follows, and changes.
    """
    token = cluster.token("read")
    with Client(cluster.url, token) as client:
        assert error in (client.call(health.status).components["nats"].error or "")
        ready = client.call(health.ready)
        assert (ready.status, error in (ready.error or "")) == ("not ready", True)
    towline = CommandLine(cluster.directory, {"TOWLINE_URL": cluster.url, "TOWLINE_TOKEN": token})
    shown = towline("health")
    assert (shown.status, shown.stderr) == (1, "")
    head, _, table = shown.stdout.partition("\n\n")
    assert head.startswith("status   degraded\n")
    said = {row["COMPONENT"]: row["STATUS"] for row in rows(table)}
    assert (said["nats"], said["nodes"], said["index"]) == ("error", "error", "ok")
    assert error in table
    printed = towline("health", "-o", "json")
    assert printed.status == 1
    assert error in json.loads(printed.stdout)["error"]
