"""Nodes that are revoked, removed, labelled and renamed, at two controllers."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.testing.answers import refused
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.command import CommandLine
from tests.testing.denied import Node, see_denied
from tests.testing.gate import Gate
from tests.testing.logins import lets_in
from tests.testing.members import admit
from tests.testing.own_broker import OwnBroker
from tests.testing.process import wait_until

BY_HAND, STAYS = "by-hand", "stays"
INVITED = ("web-01", "web-02", "web-03", "web-04")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("fleet")
    plans = [NodePlan(BY_HAND), NodePlan(STAYS)]
    with Cluster(directory, plans, gate.env, broker=OwnBroker) as fleet:
        for hostname in INVITED:
            login_file(fleet, hostname).write_text(admit(own(fleet), hostname, {"group": "web"}))
            login_file(fleet, hostname).chmod(0o600)
            fleet.add_node(NodePlan(hostname))
        fleet.wait_here(*INVITED)
        fleet.add_controller()
        yield fleet


def own(fleet: Cluster) -> OwnBroker:
    assert isinstance(fleet.broker, OwnBroker)
    return fleet.broker


def login_file(fleet: Cluster, hostname: str) -> Path:
    return fleet.directory / f"{hostname}.creds"


def login_of(fleet: Cluster, hostname: str) -> str:
    return login_file(fleet, hostname).read_text()


def others(fleet: Cluster) -> list[httpx.Client]:
    return [fleet.admin, *fleet.others]


def shown(client: httpx.Client) -> dict[str, dict[str, Any]]:
    return {each["machine_id"]: each for each in client.get("/agent").json()["agents"]}


def everywhere(fleet: Cluster, holds: Callable[[httpx.Client], bool], what: str) -> None:
    """Wait until something holds of every controller."""
    for client in others(fleet):
        wait_until(partial(holds, client), what=f"{what} at every controller")


def named(answer: httpx.Response) -> set[str]:
    return {each["hostname"] for each in answer.raise_for_status().json()["results"]}


def begun(fleet: Cluster, gate: Gate, hostname: str, name: str) -> str:
    """Return a job that is held back on a node."""
    gate.hold(name)
    answer = fleet.admin.post(
        f"/node/{hostname}/gate/pass", json={"name": name}, headers={"Prefer": "wait=0"}
    )
    found: str = answer.raise_for_status().json()["job_id"]
    wait_until(
        lambda: fleet.admin.get(f"/job/{found}").json()["status"] == "processing",
        what="the task to be begun",
    )
    return found


def row(job: dict[str, Any]) -> tuple[str, str]:
    (result,) = job["results"]
    return result["status"], result["reason"]


def test_a_revoked_node_is_dropped_and_its_keys_are_worth_nothing(
    fleet: Cluster, gate: Gate
) -> None:
    login = login_of(fleet, "web-01")
    job = begun(fleet, gate, "web-01", "revoked")

    async def drop() -> list[str]:
        async with own(fleet).raw(login) as raw:
            answer = await asyncio.to_thread(fleet.admin.post, "/agent/web-01/revoke")
            assert answer.json() == {"message": "web-01 is revoked."}, answer.text
            return await raw.until_ended()

    assert asyncio.run(drop()) == ["-ERR 'User Authentication Revoked'"]
    assert not asyncio.run(lets_in(own(fleet), login))
    reason = "the node was revoked by tests: it is not known whether it ran"
    assert row(fleet.ended(job)) == ("cancelled", reason)
    everywhere(
        fleet,
        lambda client: shown(client)["web-01"].get("revoked_by") == "tests",
        "that it is revoked",
    )
    for client in others(fleet):
        found = shown(client)["web-01"]
        assert (found["status"], found["invited_by"]) == ("NotReady", "ann")
        assert [each["event"] for each in found["timeline"]][-1] == "revoked"
        assert "was revoked" in refused(
            client.post("/node/web-01/gate/pass", json={"name": "x"}), 400
        )
    assert "web-01" not in named(fleet.admin.get("/node/_all/gate", params={"name": "all"}))
    # To do it again changes nothing, and what is revoked is not called anything else.
    since = shown(fleet.admin)["web-01"]["revoked_at"]
    fleet.admin.post("/agent/web-01/revoke").raise_for_status()
    assert shown(fleet.admin)["web-01"]["revoked_at"] == since
    assert "revoked" in refused(
        fleet.admin.post("/agent/web-01/rename", json={"name": "web-09"}), 409
    )


def test_a_removed_node_is_forgotten_its_open_tasks_end_and_its_name_is_free(
    fleet: Cluster, gate: Gate
) -> None:
    login = login_of(fleet, "web-02")
    fleet.agents["web-02"].stop()
    fleet.wait_away("web-02")
    answer = fleet.admin.post("/node/web-02/gate/pass", json={"name": "kept"})
    job = answer.raise_for_status().json()["job_id"]
    answer = fleet.others[0].delete("/agent/web-02")
    assert answer.json() == {"message": "web-02 is removed."}, answer.text
    assert row(fleet.ended(job)) == ("cancelled", "the node was removed by tests")
    assert not asyncio.run(lets_in(own(fleet), login))
    everywhere(fleet, lambda client: "web-02" not in shown(client), "that it is forgotten")
    for client in others(fleet):
        refused(client.get("/agent/web-02"), 404)
    # Whoever is called so now is another node.
    renamed = fleet.admin.post("/agent/web-03/rename", json={"name": "web-02"})
    assert renamed.raise_for_status().json()["machine_id"] == "web-03"
    fleet.admin.post("/agent/web-02/rename", json={"name": "web-03"}).raise_for_status()


def test_a_node_that_came_by_no_invite_comes_back_with_a_new_login_once_it_was_removed(
    fleet: Cluster,
) -> None:
    broker, towline = own(fleet), fleet.admin
    assert "no invite" in refused(
        towline.post(f"/agent/{BY_HAND}/label", json={"labels": ["group:web"]}), 409
    )
    towline.post(f"/agent/{BY_HAND}/revoke").raise_for_status()
    assert not asyncio.run(lets_in(broker, broker.trust.node_login(BY_HAND)))
    assert shown(towline)[BY_HAND]["revoked_by"] == "tests"
    towline.delete(f"/agent/{BY_HAND}").raise_for_status()
    everywhere(fleet, lambda client: BY_HAND not in shown(client), "that it is forgotten")

    def again() -> bool:
        # A login of the second in which it was removed counts for an older one.
        login_file(fleet, BY_HAND).write_text(broker.trust.node_login(BY_HAND))
        return BY_HAND in shown(towline)

    wait_until(again, timeout=30, what="the node to be back")
    fleet.wait_here(BY_HAND)
    assert "revoked_at" not in shown(towline)[BY_HAND]


def test_labels_are_given_and_taken_away(fleet: Cluster, gate: Gate, tmp_path: Path) -> None:
    towline = CommandLine(
        tmp_path, {"TOWLINE_TOKEN": fleet.token("admin"), "TOWLINE_URL": fleet.url}
    )
    done = towline("node", "label", "web-03", "zone:eu.north", "group:-", "rack:r1")
    assert (done.status, done.stderr) == (0, "")
    everywhere(
        fleet,
        lambda client: shown(client)["web-03"]["labels"] == {"zone": "eu.north", "rack": "r1"},
        "the labels",
    )
    for client in others(fleet):
        answer = client.get("/node/zone:eu/gate", params={"name": "labelled"})
        assert named(answer) == {"web-03"}
        assert "web-03" not in named(client.get("/node/group:web/gate", params={"name": "g"}))
    for labels in (["a:b..c"], ["a"], [":b"], ["-"], ["a:-", "a:b"], []):
        refused(fleet.admin.post("/agent/web-03/label", json={"labels": labels}), 400)
    assert shown(fleet.admin)["web-03"]["labels"] == {"zone": "eu.north", "rack": "r1"}


@pytest.mark.parametrize("name", ["web-04", "WEB-04", STAYS, STAYS.upper(), "web-01"])
def test_no_node_is_given_a_name_that_another_has(fleet: Cluster, name: str) -> None:
    said = refused(fleet.admin.post("/agent/web-03/rename", json={"name": name}), 409)
    assert f"Another node is called {name!r}" in said
    assert shown(fleet.admin)["web-03"]["hostname"] == "web-03"


def test_a_node_that_is_renamed_and_labelled_anew_may_do_no_more_and_no_less(
    fleet: Cluster, gate: Gate
) -> None:
    login = login_of(fleet, "web-04")
    label = {"labels": ["group:db"]}

    def change() -> None:
        fleet.admin.post("/agent/web-04/label", json=label).raise_for_status()
        renamed = fleet.admin.post("/agent/web-04/rename", json={"name": "db-01"})
        assert renamed.raise_for_status().json()["hostname"] == "db-01"
        everywhere(fleet, lambda client: shown(client)["web-04"]["hostname"] == "db-01", "the name")

    async def attack() -> None:
        # What it could wish for that has this name and these labels, or had others.
        wished = ("web-03", "db-01", "group:db", "group.db", "group.web", BY_HAND, STAYS)
        node = Node("web-04", wished)
        async with own(fleet).raw(login) as before:
            await see_denied(before, node)
            await asyncio.to_thread(change)
            await see_denied(before, node)
            async with own(fleet).raw(login) as after:
                await see_denied(after, node)

    asyncio.run(attack())
    for client in others(fleet):
        refused(client.get("/node/db-02/gate", params={"name": "x"}), 400)
    # Its agent is the same, with the connection that it had before.
    answer = fleet.admin.post("/node/db-01/gate/pass", json={"name": "renamed"})
    assert answer.json()["results"][0]["status"] == "ok", answer.text
    assert named(fleet.admin.get("/node/group:db/gate", params={"name": "db"})) == {"db-01"}
