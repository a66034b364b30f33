"""Every answer is as the OpenAPI document says."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.system.openapi.document import (
    JOB_PATH,
    LIST_PATH,
    LOAD_PATH,
    PULL_PATH,
    conforms,
    entries,
    holds,
)
from tests.system.openapi.requests import ANSWERS, NO_JOB, TRIED_ELSEWHERE
from tests.system.openapi.set_requests import A_SET, OF_SETS
from tests.testing.cluster import PULL, WEB_1, Cluster, NodePlan
from tests.testing.process import wait_until
from tests.testing.registry import PushedImage


@pytest.mark.parametrize(
    ("path", "method", "url", "status", "more"),
    ANSWERS,
    ids=[f"{status}-{method}-{url}" for _, method, url, status, _ in ANSWERS],
)
def test_an_answer_is_as_documented(
    fleet: Cluster,
    api: dict[str, Any],
    path: str,
    method: str,
    url: str,
    status: int,
    more: dict[str, Any],
) -> None:
    rest = dict(more)
    headers = dict(rest.pop("headers", {}))
    role, permissions = rest.pop("role", "admin"), rest.pop("permissions", None)
    if role is not None:
        headers["Authorization"] = f"Bearer {fleet.token(role, permissions=permissions)}"
    if "prefer" in rest:
        headers["Prefer"] = rest.pop("prefer")
    if "Idempotency-Key" in headers:
        made = fleet.admin.get("/node/_any/load", headers={"Idempotency-Key": "taken"})
        assert made.status_code == 200
    answer = fleet.anyone.request(method, url, headers=headers, **rest)
    assert answer.status_code == status, answer.text
    conforms(api, path, answer)


def test_a_pulls_answers_are_as_documented(
    cluster: Cluster, api: dict[str, Any], image: PushedImage
) -> None:
    for target in ("_all", WEB_1):
        for reference in (image.reference, image.by_digest, f"{image.repository}/missing"):
            answer = cluster.pull(target, reference, retries=0)
            conforms(api, PULL_PATH, answer)
            conforms(api, JOB_PATH, cluster.admin.get(answer.headers["Location"]))
    listed = cluster.admin.get("/node/_all/container/docker")
    conforms(api, LIST_PATH, listed)
    conforms(api, "/agent", cluster.admin.get("/agent"))
    ready = cluster.anyone.get("/health/ready")
    assert ready.status_code == 200
    conforms(api, "/health/ready", ready)
    status = cluster.admin.get("/health/status")
    assert status.status_code == 200
    conforms(api, "/health/status", status)


def test_jobs_and_nodes_are_as_documented_whatever_becomes_of_them(
    api: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Cluster(
        tmp_path_factory.mktemp("openapi"), [NodePlan(WEB_1, labels=("group:web",))]
    ) as cluster:
        made = [
            cluster.pull("_all", "nginx"),
            cluster.pull("_any", "nginx", prefer="respond-async"),
            cluster.pull(WEB_1, "nginx", query="?expires=0s"),
            cluster.admin.get("/node/group:web/load"),
        ]
        cluster.agents[WEB_1].stop()
        cluster.wait_away(WEB_1)
        made += [cluster.pull("_all", "nginx"), cluster.pull(WEB_1, "nginx")]
        for answer in made:
            path = LOAD_PATH if answer.request.method == "GET" else PULL_PATH
            conforms(api, path, answer)
            job = cluster.admin.get(answer.headers["Location"], headers={"Prefer": "wait=0"})
            assert job.status_code == 200
            conforms(api, JOB_PATH, job)
        conforms(api, LOAD_PATH, cluster.admin.get(f"/node/{WEB_1}/load"))
        conforms(api, "/agent", cluster.admin.get("/agent"))

        cluster.broker.stop()
        job = cluster.admin.get(f"/job/{NO_JOB}")
        assert job.status_code == 500
        conforms(api, JOB_PATH, job)
        with ThreadPoolExecutor() as pool:
            asked = pool.map(
                lambda each: cluster.admin.request(
                    each[1], each[0].format(name="none"), json=A_SET if each[1] == "PUT" else None
                ),
                OF_SETS,
            )
            for (path, _), answer in zip(OF_SETS, asked, strict=True):
                assert answer.status_code == 500
                conforms(api, path, answer)
        conforms(api, "/health/ready", cluster.anyone.get("/health/ready"))
        conforms(api, "/health/status", cluster.admin.get("/health/status"))


def test_every_documented_answer_is_among_those_tried(api: dict[str, Any]) -> None:
    tried = {(path, method.lower(), str(status)) for path, method, _, status, _ in ANSWERS}
    tried |= {(JOB_PATH, "get", "200"), (JOB_PATH, "get", "500")}
    tried |= {(f"/health/{each}", "get", "200") for each in ("ready", "status")}
    tried |= TRIED_ELSEWHERE
    documented = {
        (path, method, code)
        for path, method, entry in entries(api)
        for code in entry["responses"]
        # Whichever it is that has too much under way: the tests of limits try that.
        if code != "429"
    }
    # These are answered from memory: only a fault of our own makes one fail.
    nodes, tokens = ("/agent", "/agent/{hostname}", "/target"), ("/token", "/token/{id}")
    images = ("/image", "/image/nodes")
    from_memory = (*nodes, *tokens, *images, "/job", "/event", "/health/status", "/trust", "/set")
    assert documented - tried == {(path, "get", "500") for path in from_memory}
    assert tried <= documented


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nothing"), ("DELETE", "/agent"), ("PUT", f"/node/{WEB_1}/{PULL}"), ("GET", "/%ff")],
)
def test_errors_beside_the_routes_have_the_documented_body(
    fleet: Cluster, api: dict[str, Any], method: str, path: str
) -> None:
    answer = fleet.admin.request(method, path)
    assert answer.status_code in (404, 405)
    holds(api, {"$ref": "#/components/schemas/Error"}, answer.json())


def test_a_client_that_hangs_up_amid_its_body_is_no_fault_of_the_controller(
    fleet: Cluster,
) -> None:
    url = httpx.URL(fleet.url)
    with socket.create_connection((url.host, url.port or 0)) as connection:
        connection.sendall(
            f"POST /node/hung-up/{PULL} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {fleet.token('write')}\r\n"
            'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"image": '.encode()
        )

    def logged() -> list[dict[str, Any]]:
        whole, _, _ = fleet.controller.stderr.rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if "/hung-up/" in line.get("path", "")]

    wait_until(lambda: bool(logged()), what="a line in the log")
    assert [(line["event"], line["status"]) for line in logged()] == [("request", 400)]
