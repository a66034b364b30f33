"""What controllers say of nodes: facts, conditions, and whether they are here."""

import asyncio
import json
import os
import socket
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.system.nodes.conftest import FACTS
from tests.testing.cluster import Cluster
from tests.testing.process import wait_until
from towline import __version__
from towline.broker.bucket import Bucket
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.settings import Settings
from towline.controller.last_signs import BUCKET, EARLIER, SHARES
from towline.units import timestamp
from towline.wire.node import Signs


def node_of(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.reader.get("/agent/one").raise_for_status().json()
    return found


def restart(cluster: Cluster) -> None:
    cluster.agents["one"].stop()
    cluster.wait_away("one")
    cluster.agents["one"].start()
    cluster.wait_here("one")


@pytest.fixture
def away(one: Cluster) -> Iterator[dict[str, Any]]:
    """The node after it has gone away."""
    one.agents["one"].stop()
    one.wait_away("one")
    yield node_of(one)
    one.agents["one"].start()
    one.wait_here("one")


def test_a_node_says_what_its_machine_is(one: Cluster) -> None:
    node = node_of(one)
    assert (node["hostname"], node["machine_id"]) == ("one", one.machine_id("one"))
    assert (node["architecture"], node["kernel_version"]) == (
        os.uname().machine,
        os.uname().release,
    )
    assert (node["cpu_count"], node["version"]) == (os.cpu_count(), __version__)
    assert node["fqdn"].partition(".")[0] == socket.gethostname().partition(".")[0]
    assert node["package_mgr"] == "apt"
    assert set(node["os_info"]) == {"distribution", "version"}
    assert node["labels"] == {"group": "web"}
    assert node["memory"]["total"] == psutil.virtual_memory().total


def test_names_that_begin_with_a_text_are_listed_with_how_many_nodes_each_means(
    one: Cluster,
) -> None:
    def targets(query: str) -> list[tuple[str, int, int]]:
        found = one.reader.get(f"/target?{query}").raise_for_status().json()["targets"]
        return [(each["target"], each["nodes"], each["ready"]) for each in found]

    assert targets("") == [("group:web", 1, 1), ("one", 1, 1)]
    assert targets("prefix=gr") == [("group:web", 1, 1)]
    assert targets("prefix=x") == []
    assert one.reader.get("/target?limit=1").json()["total"] == 2


def test_a_node_says_what_its_network_is(one: Cluster) -> None:
    node = node_of(one)
    addresses = psutil.net_if_addrs()
    primary = node["interfaces"][0]
    assert primary["name"] == node["primary_interface"] == node["facts"]["interface"]["primary"]
    assert primary["mac"] in {each.address for each in addresses[primary["name"]]}
    assert primary["ipv4"] in {each.address for each in addresses[primary["name"]]}
    assert primary["family"] in ("inet", "dual")
    default = node["routes"][0]
    assert (default["destination"], default["mask"]) == ("0.0.0.0", "0.0.0.0")
    assert (default["interface"], default["flags"]) == (primary["name"], "UG")
    assert default["metric"] >= 0


def test_a_node_has_what_parameters_may_refer_to(one: Cluster) -> None:
    node = node_of(one)
    assert node["facts"] == {
        "hostname": "one",
        "fqdn": node["fqdn"],
        "arch": node["architecture"],
        "kernel": node["kernel_version"],
        "interface": {"primary": node["primary_interface"]},
        "containerized": node["facts"]["containerized"],
        "custom": FACTS,
    }
    assert isinstance(node["facts"]["containerized"], bool)
    (line,) = [each for each in one.logs.splitlines() if "custom facts not readable" in each]
    assert json.loads(line)["file"] == str(one.directory / "facts.d" / "broken.json")


def test_a_node_says_what_it_is_short_of(one: Cluster) -> None:
    node = node_of(one)
    types = [each["type"] for each in node["conditions"]]
    assert types == ["MemoryPressure", "HighLoad", "DiskPressure"]
    for condition in node["conditions"]:
        assert ("reason" in condition) is condition["status"]
        since = datetime.fromisoformat(condition["last_transition_time"])
        assert datetime.fromisoformat(node["started_at"]) <= since


def test_all_nodes_are_listed_as_one_is_shown(one: Cluster) -> None:
    listed = one.reader.get("/agent").raise_for_status().json()
    assert listed["total"] == 1
    changing = {"last_heard", "load_average", "memory", "uptime", "running", "conditions"}
    stays = [
        {name: value for name, value in node.items() if name not in changing}
        for node in (*listed["agents"], node_of(one))
    ]
    assert stays[0] == stays[1]


def test_a_node_that_is_away_shows_it_wherever_clients_look(
    one: Cluster, away: dict[str, Any]
) -> None:
    assert (away["status"], away["state"]) == ("NotReady", "NotReady")
    assert "uptime" not in away
    assert away["facts"]["custom"] == FACTS
    assert "drained_at" not in away
    assert one.admin.post("/agent/one/drain").is_success
    try:
        drained = node_of(one)
        assert (drained["status"], drained["state"]) == ("NotReady", "NotReady")
        assert drained["drained_at"] == drained["timeline"][-1]["timestamp"]
    finally:
        assert one.admin.post("/agent/one/undrain").is_success


async def test_when_a_node_was_heard_last_is_known_though_the_controller_was_killed(
    one: Cluster, away: dict[str, Any]
) -> None:
    heard = datetime.fromisoformat(away["last_heard"]).timestamp()
    share = str(zlib.crc32(away["machine_id"].encode()) % SHARES)
    settings = Settings([one.broker.url], one.broker.credentials)
    async with Connection(settings, "tests") as connection, asyncio.timeout(30):
        bucket = Bucket(JetStream(connection), BUCKET, Signs)
        kept = 0.0
        while kept < heard - EARLIER:
            entry = await bucket.get(share)
            kept = entry.value.heard[away["machine_id"]] if entry and entry.value else 0.0
            await asyncio.sleep(0.05)
    one.controller.kill()
    one.controller.start()
    one.controller.wait_for_output("answers at")

    def shown() -> bool:
        node = one.node("one")
        return node is not None and node["last_heard"] == timestamp(kept)

    wait_until(shown, what="the last sign of life")
    refused = one.reader.get("/node/one/load").json()
    assert f"not reachable since {timestamp(kept)}" in refused["error"]


def test_a_node_that_starts_again_has_the_facts_of_now(one: Cluster, facts_directory: Path) -> None:
    more = facts_directory / "more.json"
    more.write_text('{"owner": "ann"}')
    try:
        restart(one)
        assert node_of(one)["facts"]["custom"] == {**FACTS, "owner": "ann"}
    finally:
        more.unlink()
        restart(one)
    assert node_of(one)["facts"]["custom"] == FACTS
