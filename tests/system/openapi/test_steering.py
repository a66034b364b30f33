"""What steers jobs and nodes answers as the OpenAPI document says."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.system.openapi.document import JOB_PATH, PULL_PATH, REGISTRY_PATH, conforms
from tests.system.openapi.requests import (
    CREDENTIAL,
    JOB_STEPS,
    NO_JOB,
    REGISTRIES,
    REGISTRY,
    STEERED_ELSEWHERE,
    STEERED_JOBS,
)
from tests.testing.cluster import WEB_1, Cluster, NodePlan


def test_what_steers_jobs_and_nodes_answers_as_documented(
    api: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tried: set[tuple[str, str, str]] = set()

    def check(path: str, answer: httpx.Response, status: int) -> None:
        assert answer.status_code == status, answer.text
        conforms(api, path, answer)
        tried.add((path, answer.request.method.lower(), str(status)))

    with Cluster(tmp_path_factory.mktemp("steering"), [NodePlan(WEB_1)]) as cluster:
        admin = cluster.admin
        cluster.add_controller(stranger=True)
        admin.put(f"/registry/{REGISTRY}", json=CREDENTIAL["json"])
        answer = cluster.others[0].put("/registry/docker.io", json=CREDENTIAL["json"])
        check(REGISTRY_PATH, answer, 409)
        done = admin.get("/node/_all/load", headers={"Prefer": "wait=9"}).json()["job_id"]
        check(f"{JOB_PATH}/cancel", admin.post(f"/job/{done}/cancel"), 409)
        poor = cluster.client(cluster.token(permissions=["job:write"], subject="other"))
        for step in JOB_STEPS:
            check(f"{JOB_PATH}/{step}", poor.post(f"/job/{done}/{step}"), 403)
        elsewhere = {"target_hostname": "_any"}
        headers = {"Prefer": "wait=9"}
        dry = admin.post(f"/job/{done}/retry?dry_run=true", json=elsewhere, headers=headers)
        check(f"{JOB_PATH}/retry", dry, 200)
        answer = admin.post(f"/job/{done}/retry", json=elsewhere, headers=headers)
        check(f"{JOB_PATH}/retry", answer, 201)
        taken = {"Idempotency-Key": "taken"}
        admin.get("/node/_any/load", headers=taken)
        answer = admin.post(f"/job/{done}/retry", json={"target_hostname": WEB_1}, headers=taken)
        check(f"{JOB_PATH}/retry", answer, 409)
        with admin.stream("GET", f"/job/{done}/events") as stream:
            assert stream.status_code == 200
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            last = [line for line in stream.iter_lines() if line.startswith("id: ")][-1][4:]
        answer = admin.get(f"/job/{done}/events", headers={"Last-Event-ID": last})
        check(f"{JOB_PATH}/events", answer, 204)
        json_only = {"Accept": "application/json"}
        answer = admin.get(f"/job/{done}/progress", headers=json_only)
        check(f"{JOB_PATH}/progress", answer, 200)
        answer = admin.get(f"/job/{done}/progress", headers={"Last-Event-ID": "end"})
        check(f"{JOB_PATH}/progress", answer, 204)
        with admin.stream("GET", "/event") as stream:
            assert stream.status_code == 200
        tried.update((path, "get", "200") for path in (f"{JOB_PATH}/events", "/event"))
        check(JOB_PATH, admin.delete(f"/job/{done}"), 204)

        for way, back in (("drain", "undrain"), ("undrain", "drain")):
            if way == "undrain":
                admin.post(f"/agent/{WEB_1}/{back}")
            path = f"/agent/{{hostname}}/{way}"
            check(path, admin.post(f"/agent/{WEB_1}/{way}"), 200)
            check(path, admin.post(f"/agent/{WEB_1}/{way}"), 409)
            conforms(api, "/agent/{hostname}", admin.get(f"/agent/{WEB_1}"))
            if way == "drain":
                admin.post(f"/agent/{WEB_1}/{back}")

        cluster.agents[WEB_1].stop()
        cluster.wait_away(WEB_1)
        waiting = cluster.pull(WEB_1, "nginx").json()["job_id"]
        check(f"{JOB_PATH}/cancel", admin.post(f"/job/{waiting}/cancel"), 200)
        waves = cluster.pull("_all", "nginx", query="?max_parallel=1&canary=10%25&max_failures=0")
        conforms(api, PULL_PATH, waves)
        waiting = waves.json()["job_id"]
        for step in ("pause", "resume"):
            for status in (200, 409):
                check(f"{JOB_PATH}/{step}", admin.post(f"/job/{waiting}/{step}"), status)
            conforms(api, JOB_PATH, admin.get(f"/job/{waiting}"))

        cluster.broker.stop()
        # Each waits for the broker for some seconds: together they wait once.
        asked: list[tuple[str, str, str, Any]]
        asked = [(path, method, path.format(id=NO_JOB), {}) for path, method in STEERED_JOBS]
        asked += [
            (path, method, path.format(host=REGISTRY), CREDENTIAL if method == "PUT" else {})
            for path, method in REGISTRIES
        ]
        asked += [
            ("/token", "POST", "/token", {"json": {"roles": ["read"]}}),
            ("/token/{id}", "DELETE", "/token/none", {}),
        ]
        with ThreadPoolExecutor(len(asked)) as callers:
            answers = [
                (path, callers.submit(admin.request, method, url, **more))
                for path, method, url, more in asked
            ]
        for path, late in answers:
            check(path, late.result(), 500)
        for way in ("undrain", "drain"):
            path = f"/agent/{{hostname}}/{way}"
            answer = admin.post(f"/agent/{WEB_1}/{way}")
            if answer.status_code == 500:
                check(path, answer, 500)
    assert tried >= STEERED_ELSEWHERE - {("/agent/{hostname}/undrain", "post", "500")}
