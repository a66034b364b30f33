"""Permissions that are narrowed: which node is chosen, what is listed, what values count."""

import pytest

from tests.testing.answers import refused
from tests.testing.cluster import DB_1, PULL, WEB_1, WEB_2, Cluster


def test_any_node_is_one_of_those_inside(fleet: Cluster) -> None:
    for scope, hostnames in (("group:web", {WEB_1, WEB_2}), (DB_1, {DB_1}), ("*-02", {WEB_2})):
        narrow = fleet.client(fleet.token(permissions=[f"node:read@{scope}"]))
        found = set()
        for _ in range(12):
            answer = narrow.get("/node/_any/load").raise_for_status().json()
            found |= {result["hostname"] for result in answer["results"]}
        assert found <= hostnames
    nowhere = fleet.client(fleet.token(permissions=["node:read@nobody-*"]))
    assert "no registered node is inside" in refused(nowhere.get("/node/_any/load"), 403)


def test_a_change_for_any_node_waits_for_one_inside(fleet: Cluster) -> None:
    narrow = fleet.client(fleet.token(permissions=["docker:write@web-01", "job:read@web-01"]))
    answer = narrow.post(f"/node/_any/{PULL}", json={"image": "nginx"})
    assert answer.status_code in (202, 500)
    # A list may be a moment behind what was just answered.
    job = fleet.admin.get(f"/job/{answer.json()['job_id']}").raise_for_status().json()
    assert {result["hostname"] for result in job["results"]} <= {WEB_1, "_any"}
    # One that no node has taken yet can be read, too: it will be one inside.
    assert narrow.get(f"/job/{job['id']}").status_code == 200
    other = fleet.client(fleet.token(permissions=["job:read@web-02"]))
    refused(other.get(f"/job/{job['id']}"), 403)


def test_the_list_of_nodes_has_those_inside(fleet: Cluster) -> None:
    for scope, hostnames in (("group:web", [WEB_1, WEB_2]), (DB_1, [DB_1]), ("x-*", [])):
        narrow = fleet.client(fleet.token(permissions=[f"agent:read@{scope}"]))
        listed = narrow.get("/agent").raise_for_status().json()
        assert [node["hostname"] for node in listed["agents"]] == hostnames
        assert listed["total"] == len(hostnames)
        targets = narrow.get("/target").raise_for_status().json()["targets"]
        assert [each["target"] for each in targets if ":" not in each["target"]] == hostnames


@pytest.mark.parametrize("path", ["/job", "/event", "/health/status", "/registry"])
def test_what_is_about_all_nodes_is_refused(fleet: Cluster, path: str) -> None:
    every = ["job:read@group:web", "health:read@group:web", "registry:read@group:web"]
    narrow = fleet.client(fleet.token(permissions=every))
    assert "only for group:web" in refused(narrow.get(path), 403)


def test_an_image_has_to_be_inside_and_is_never_another_than_asked_for(fleet: Cluster) -> None:
    made = fleet.jobs_made()
    permission = "docker:write@web-*,image=registry.example/*"
    narrow = fleet.client(fleet.token(permissions=[permission]))
    for target, image, says in (
        (WEB_1, "nginx", "'docker.io/library/nginx:latest' is outside"),
        (WEB_1, "registry.example.org/app", "is outside"),
        (WEB_1, "registry.example/@fact.hostname", "known on the node alone"),
        ("_any", "nginx", "is outside"),
        (DB_1, "registry.example/app", f"{DB_1} is outside"),
        ("_all", "registry.example/app", f"{DB_1} is outside"),
    ):
        answer = narrow.post(f"/node/{target}/{PULL}", json={"image": image})
        assert says in refused(answer, 403)
    assert fleet.jobs_made() == made
    answer = narrow.post(f"/node/group:web/{PULL}", json={"image": "registry.example/app"})
    assert answer.status_code == 202
    assert {result["hostname"] for result in answer.json()["results"]} == {WEB_1, WEB_2}


def test_the_answer_that_an_idempotency_key_brings_back_is_inside_too(fleet: Cluster) -> None:
    key = {"Idempotency-Key": "brought back"}
    wide = fleet.client(fleet.token("read"))
    assert wide.get("/node/_all/load", headers=key).status_code == 200
    narrow = fleet.client(fleet.token(permissions=["node:read@group:web"]))
    assert DB_1 in refused(narrow.get("/node/_all/load", headers=key), 403)


def test_a_retry_is_inside_whatever_the_job_was(fleet: Cluster) -> None:
    job = fleet.admin.get("/node/group:web/load").json()["job_id"]
    narrow = fleet.client(fleet.token(permissions=["job:write", "node:read@group:web"]))
    retry = f"/job/{job}/retry"
    assert narrow.post(retry, json={"target_hostname": WEB_1}).status_code == 201
    for target in (DB_1, "_all"):
        assert DB_1 in refused(narrow.post(retry, json={"target_hostname": target}), 403)
