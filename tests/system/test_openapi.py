"""The OpenAPI document is valid and true of every answer; and so is the page that shows it."""

import json
import re
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import jsonschema_rs
import pytest
import schemathesis

from tests.testing.cluster import PULL, WEB_1, Cluster, NodePlan
from tests.testing.process import Process, wait_until
from tests.testing.registry import PushedImage

PULL_PATH = f"/node/{{hostname}}/{PULL}"
LIST_PATH = "/node/{hostname}/container/docker"
LOAD_PATH = "/node/{hostname}/load"
JOB_PATH = "/job/{id}"
REGISTRY_PATH = "/registry/{host}"

# What the page lists of a result, and of an error; its example has each of these types.
PAGE_RESULT = {
    "hostname": "string",
    "image_id": "string",
    "tag": "string",
    "size": "integer",
    "changed": "boolean",
    "error": "string",
}
PAGE_ERROR = {"error": "string", "details": "string", "code": "integer"}
PAGE_CODES = {"202", "400", "401", "403", "500"}


@pytest.fixture(scope="module")
def api(fleet: Cluster) -> dict[str, Any]:
    """The document as it is served."""
    answer = fleet.anyone.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    document: dict[str, Any] = answer.json()
    return document


def entries(api: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and entry of all there is."""
    for path, methods in api["paths"].items():
        for method, entry in methods.items():
            yield path, method, entry


def everything(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a document."""
    if isinstance(part, dict):
        yield part
    for value in part.values() if isinstance(part, dict) else part:
        if isinstance(value, dict | list):
            yield from everything(value)


def content(api: dict[str, Any], holder: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a body."""
    # A stream has no schema.
    assert holder["content"].keys() - {"text/event-stream"} == {"application/json"}
    reference = holder["content"]["application/json"]["schema"]["$ref"]
    found: dict[str, Any] = resolved(api, reference)
    return found


def resolved(api: dict[str, Any], reference: str) -> Any:
    """Return what a reference within the document means; KeyError if it is not there."""
    found: Any = api
    head, *keys = reference.split("/")
    assert head == "#"
    for key in keys:
        found = found[key]
    return found


def closed(part: Any) -> Any:
    """Return a schema that refuses every property it doesn't name."""
    if isinstance(part, list):
        return [closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    shut = {key: closed(value) for key, value in part.items()}
    if isinstance(part.get("properties"), dict):
        shut.setdefault("additionalProperties", False)
    return shut


def is_json(response: dict[str, Any]) -> bool:
    """Whether a response has a body that is JSON: a stream has none, nor has what is deleted."""
    return "application/json" in response.get("content", {})


def conforms(api: dict[str, Any], path: str, answer: httpx.Response) -> None:
    """Check an answer against what is documented of it: status, headers, each field."""
    entry = api["paths"][path][answer.request.method.lower()]
    documented = entry["responses"][str(answer.status_code)]
    if answer.status_code == 204:
        assert "content" not in documented
        assert answer.content == b""
        return
    assert answer.headers["Content-Type"] in documented["content"]
    headers = documented.get("headers", {})
    told = {name.lower() for name in answer.headers} - {"content-type", "content-length", "date"}
    assert told <= {name.lower() for name in headers}
    assert told >= {name.lower() for name, each in headers.items() if each.get("required")}
    holds(api, documented["content"]["application/json"]["schema"], answer.json())


def holds(api: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    """Check a value against a schema of the document that allows nothing beyond it."""
    whole = {**schema, "components": {"schemas": closed(api["components"]["schemas"])}}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)


# The document itself


def test_the_document_is_valid_openapi(api: dict[str, Any]) -> None:
    assert api["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(api).validate()
    for schema in api["components"]["schemas"].values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )


def test_every_reference_leads_somewhere(api: dict[str, Any]) -> None:
    references = {part["$ref"] for part in everything(api) if "$ref" in part}
    assert references
    for reference in references:
        resolved(api, reference)


def test_every_placeholder_is_a_parameter_and_every_name_stands_once(api: dict[str, Any]) -> None:
    names = [entry["operationId"] for _, _, entry in entries(api)]
    assert len(set(names)) == len(names)
    for path, _, entry in entries(api):
        listed = [(each["in"], each["name"]) for each in entry.get("parameters", [])]
        assert len(set(listed)) == len(listed)
        placed = {name for place, name in listed if place == "path"}
        assert placed == set(re.findall(r"{(\w+)}", path))
        assert all(each["required"] for each in entry.get("parameters", []) if each["in"] == "path")


def test_the_document_is_the_same_under_api(fleet: Cluster, api: dict[str, Any]) -> None:
    assert fleet.anyone.get("/api/openapi.json").json() == api


# The page


def test_the_pull_is_that_of_the_page(api: dict[str, Any]) -> None:
    entry = api["paths"][PULL_PATH]["post"]
    assert entry["summary"] == "Pull a container image on the target node."
    (hostname,) = (each for each in entry["parameters"] if each["in"] == "path")
    assert (hostname["name"], hostname["required"]) == ("hostname", True)
    assert hostname["schema"] == {"type": "string", "minLength": 1}
    assert not any(each["required"] for each in entry["parameters"] if each["in"] != "path")

    assert entry["requestBody"]["required"] is True
    body = content(api, entry["requestBody"])
    assert body["properties"].keys() >= {"image", "retries", "stall_timeout", "policy", "resolve"}
    assert body["required"] == ["image"]
    assert body["properties"]["image"]["type"] == "string"


def test_the_answer_is_that_of_the_page(api: dict[str, Any]) -> None:
    responses = api["paths"][PULL_PATH]["post"]["responses"]
    assert responses.keys() >= PAGE_CODES
    accepted = content(api, responses["202"])
    assert "results" in accepted["required"]
    assert accepted["properties"]["job_id"].items() >= {"type": "string", "format": "uuid"}.items()
    assert accepted["properties"]["results"]["type"] == "array"
    result = accepted["properties"]["results"]["items"]
    assert result["required"] == ["hostname", "status"]
    types = {name: field["type"] for name, field in result["properties"].items()}
    assert types == PAGE_RESULT | dict.fromkeys(("status", "digest", "waits"), "string")


def test_every_error_is_that_of_the_page(api: dict[str, Any]) -> None:
    for path, _, entry in entries(api):
        for code, response in entry["responses"].items():
            if code < "400" or (path, code) == ("/health/ready", "503"):
                continue
            body = content(api, response)
            assert {name: field["type"] for name, field in body["properties"].items()} == PAGE_ERROR


def test_what_needs_a_token_says_so_and_nothing_else_does(
    fleet: Cluster, api: dict[str, Any]
) -> None:
    schemes = api["components"]["securitySchemes"]
    assert api["security"] == [{name: []} for name in schemes]
    kinds = {(each["type"], each.get("scheme") or each["name"]) for each in schemes.values()}
    assert kinds == {("http", "bearer"), ("apiKey", "X-API-Key")}
    for path, method, entry in entries(api):
        answer = fleet.anyone.request(method, re.sub("{.*?}", "x", path))
        is_open = entry.get("security") == []
        assert (answer.status_code != 401) is is_open, path
        assert ("401" not in entry["responses"]) is is_open, path


# Answers

IMAGE = {"json": {"image": "nginx:1.27"}}
READER, NOBODY = {"role": "read"}, {"role": None}
BARE = {"permissions": ["none:read"]}
LARGE = {"json": {"image": "a" * 2**20}}
TEXT = {"content": b"{}", "headers": {"Content-Type": "text/plain"}}
NO_JOB = "550e8400-e29b-41d4-a716-446655440000"
KEY = {"headers": {"Idempotency-Key": "taken"}}
JOB_STEPS = ("cancel", "pause", "resume")
"""They take the permission of the job's operation, which is asked for once the job is known."""
STEERED_JOBS = [
    (JOB_PATH, "DELETE"),
    (f"{JOB_PATH}/retry", "POST"),
    (f"{JOB_PATH}/cancel", "POST"),
    (f"{JOB_PATH}/pause", "POST"),
    (f"{JOB_PATH}/resume", "POST"),
    (f"{JOB_PATH}/events", "GET"),
    (f"{JOB_PATH}/progress", "GET"),
]
STEERED_NODES = [
    ("/agent/{hostname}", "GET"),
    ("/agent/{hostname}/drain", "POST"),
    ("/agent/{hostname}/undrain", "POST"),
]
STEERED = [*STEERED_JOBS, *STEERED_NODES, ("/job", "GET"), ("/event", "GET")]

REGISTRY = "registry.internal:5000"
CREDENTIAL = {"json": {"username": "puller", "password": "s3cret"}}
REGISTRIES = [
    ("/registry", "GET"),
    (REGISTRY_PATH, "GET"),
    (REGISTRY_PATH, "PUT"),
    (REGISTRY_PATH, "DELETE"),
]

ANSWERS: list[tuple[str, str, str, int, dict[str, Any]]] = [
    (PULL_PATH, "POST", f"/node/_all/{PULL}", 202, IMAGE),
    (PULL_PATH, "POST", f"/node/_any/{PULL}", 202, IMAGE),
    (PULL_PATH, "POST", f"/node/{WEB_1}/{PULL}?expires=1h", 202, IMAGE),
    (PULL_PATH, "POST", f"/node/group:web/{PULL}", 202, {**IMAGE, "prefer": "wait=5"}),
    (PULL_PATH, "POST", f"/node/group:web/{PULL}", 202, {**IMAGE, "prefer": "respond-async"}),
    (PULL_PATH, "POST", f"/node/{WEB_1}/{PULL}", 400, {"json": {}}),
    (PULL_PATH, "POST", f"/node/nobody/{PULL}", 400, IMAGE),
    (PULL_PATH, "POST", f"/node/{WEB_1}/{PULL}", 401, {**IMAGE, **NOBODY}),
    (PULL_PATH, "POST", f"/node/{WEB_1}/{PULL}", 403, {**IMAGE, **READER}),
    (PULL_PATH, "POST", f"/node/{WEB_1}/{PULL}", 413, LARGE),
    (PULL_PATH, "POST", f"/node/{WEB_1}/{PULL}", 415, TEXT),
    (PULL_PATH, "POST", f"/node/{WEB_1}/{PULL}?expires=0s", 500, IMAGE),
    (LIST_PATH, "GET", "/node/_all/container/docker?state=running&limit=1", 200, {}),
    (LIST_PATH, "GET", "/node/_all/container/docker?limit=0", 400, {}),
    (LIST_PATH, "GET", "/node/_all/container/docker", 401, NOBODY),
    (LIST_PATH, "GET", "/node/_all/container/docker", 403, BARE),
    (LIST_PATH, "GET", f"/node/{WEB_1}/container/docker?expires=0s", 500, {}),
    (LOAD_PATH, "GET", "/node/_all/load", 200, {}),
    (LOAD_PATH, "GET", "/node/_any/load", 200, {"prefer": "respond-async"}),
    (LOAD_PATH, "GET", "/node/_none/load", 400, {}),
    (LOAD_PATH, "GET", "/node/_all/load", 401, NOBODY),
    (LOAD_PATH, "GET", "/node/_all/load", 403, BARE),
    (LOAD_PATH, "GET", f"/node/{WEB_1}/load?expires=0s", 500, {}),
    (JOB_PATH, "GET", "/job/x", 400, {}),
    (JOB_PATH, "GET", f"/job/{NO_JOB}", 401, NOBODY),
    (JOB_PATH, "GET", f"/job/{NO_JOB}", 403, BARE),
    (JOB_PATH, "GET", f"/job/{NO_JOB}", 404, {"prefer": "wait=1"}),
    ("/agent", "GET", "/agent", 200, {}),
    ("/agent", "GET", "/agent", 401, NOBODY),
    ("/agent", "GET", "/agent", 403, BARE),
    (PULL_PATH, "POST", f"/node/{WEB_1}/{PULL}?expires=2h", 409, {**IMAGE, **KEY}),
    (LIST_PATH, "GET", f"/node/{WEB_1}/container/docker", 409, KEY),
    (LOAD_PATH, "GET", f"/node/{WEB_1}/load", 409, KEY),
    *(
        (path, method, path.format(id=NO_JOB, hostname=WEB_1), status, more)
        for path, method in STEERED
        for status, more in ((401, NOBODY), (403, BARE))
        if status != 403 or path.rpartition("/")[2] not in JOB_STEPS
    ),
    *((path, method, path.format(id="x"), 400, {}) for path, method in STEERED_JOBS),
    *((path, method, path.format(id=NO_JOB), 404, {}) for path, method in STEERED_JOBS),
    *((path, method, path.format(hostname="_all"), 400, {}) for path, method in STEERED_NODES),
    *((path, method, path.format(hostname="nobody"), 404, {}) for path, method in STEERED_NODES),
    (f"{JOB_PATH}/retry", "POST", f"/job/{NO_JOB}/retry", 413, LARGE),
    (f"{JOB_PATH}/retry", "POST", f"/job/{NO_JOB}/retry", 415, TEXT),
    ("/agent/{hostname}", "GET", f"/agent/{WEB_1}", 200, {}),
    ("/job", "GET", "/job", 200, {}),
    ("/job", "GET", "/job?status=completed&limit=100&since=1d", 200, {}),
    ("/job", "GET", "/job?limit=0", 400, {}),
    ("/event", "GET", "/event?since=x", 400, {}),
    *(
        (path, method, path.format(host=REGISTRY), status, more)
        for path, method in REGISTRIES
        for status, more in ((401, NOBODY), (403, BARE))
    ),
    (REGISTRY_PATH, "PUT", f"/registry/{REGISTRY}", 201, CREDENTIAL),
    (REGISTRY_PATH, "PUT", f"/registry/{REGISTRY}", 200, CREDENTIAL),
    (REGISTRY_PATH, "PUT", f"/registry/{REGISTRY}", 413, LARGE),
    (REGISTRY_PATH, "PUT", f"/registry/{REGISTRY}", 415, TEXT),
    (REGISTRY_PATH, "PUT", "/registry/docker.io", 201, {"json": {"identity_token": "s3cret"}}),
    (REGISTRY_PATH, "GET", f"/registry/{REGISTRY}", 200, {}),
    ("/registry", "GET", "/registry", 200, {}),
    *((path, method, "/registry/nginx", 400, CREDENTIAL) for path, method in REGISTRIES[1:]),
    *((REGISTRY_PATH, "DELETE", f"/registry/{host}", 204, {}) for host in ("docker.io", REGISTRY)),
    *((REGISTRY_PATH, method, f"/registry/{REGISTRY}", 404, {}) for method in ("GET", "DELETE")),
    ("/health", "GET", "/health", 200, NOBODY),
    ("/health/ready", "GET", "/health/ready", 503, NOBODY),
]


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
        conforms(api, "/health/ready", cluster.anyone.get("/health/ready"))


def test_what_steers_jobs_and_nodes_answers_as_documented(
    api: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tried: set[tuple[str, str, str]] = set()

    def holds_of(path: str, answer: httpx.Response, status: int) -> None:
        assert answer.status_code == status, answer.text
        conforms(api, path, answer)
        tried.add((path, answer.request.method.lower(), str(status)))

    with Cluster(tmp_path_factory.mktemp("steering"), [NodePlan(WEB_1)]) as cluster:
        admin = cluster.admin
        cluster.add_controller(stranger=True)
        admin.put(f"/registry/{REGISTRY}", json=CREDENTIAL["json"])
        answer = cluster.others[0].put("/registry/docker.io", json=CREDENTIAL["json"])
        holds_of(REGISTRY_PATH, answer, 409)
        done = admin.get("/node/_all/load", headers={"Prefer": "wait=9"}).json()["job_id"]
        holds_of(f"{JOB_PATH}/cancel", admin.post(f"/job/{done}/cancel"), 409)
        poor = cluster.client(cluster.token("admin", permissions=["job:write"]))
        for step in JOB_STEPS:
            holds_of(f"{JOB_PATH}/{step}", poor.post(f"/job/{done}/{step}"), 403)
        elsewhere = {"target_hostname": "_any"}
        headers = {"Prefer": "wait=9"}
        answer = admin.post(f"/job/{done}/retry", json=elsewhere, headers=headers)
        holds_of(f"{JOB_PATH}/retry", answer, 201)
        taken = {"Idempotency-Key": "taken"}
        admin.get("/node/_any/load", headers=taken)
        answer = admin.post(f"/job/{done}/retry", json={"target_hostname": WEB_1}, headers=taken)
        holds_of(f"{JOB_PATH}/retry", answer, 409)
        with admin.stream("GET", f"/job/{done}/events") as stream:
            assert stream.status_code == 200
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            last = [line for line in stream.iter_lines() if line.startswith("id: ")][-1][4:]
        told = admin.get(f"/job/{done}/events", headers={"Last-Event-ID": last})
        holds_of(f"{JOB_PATH}/events", told, 204)
        json_only = {"Accept": "application/json"}
        told = admin.get(f"/job/{done}/progress", headers=json_only)
        holds_of(f"{JOB_PATH}/progress", told, 200)
        told = admin.get(f"/job/{done}/progress", headers={"Last-Event-ID": "end"})
        holds_of(f"{JOB_PATH}/progress", told, 204)
        with admin.stream("GET", "/event") as stream:
            assert stream.status_code == 200
        tried.update((path, "get", "200") for path in (f"{JOB_PATH}/events", "/event"))
        holds_of(JOB_PATH, admin.delete(f"/job/{done}"), 204)

        for way, back in (("drain", "undrain"), ("undrain", "drain")):
            if way == "undrain":
                admin.post(f"/agent/{WEB_1}/{back}")
            path = f"/agent/{{hostname}}/{way}"
            holds_of(path, admin.post(f"/agent/{WEB_1}/{way}"), 200)
            holds_of(path, admin.post(f"/agent/{WEB_1}/{way}"), 409)
            conforms(api, "/agent/{hostname}", admin.get(f"/agent/{WEB_1}"))
            if way == "drain":
                admin.post(f"/agent/{WEB_1}/{back}")

        cluster.agents[WEB_1].stop()
        cluster.wait_away(WEB_1)
        waiting = cluster.pull(WEB_1, "nginx").json()["job_id"]
        holds_of(f"{JOB_PATH}/cancel", admin.post(f"/job/{waiting}/cancel"), 200)
        waves = cluster.pull("_all", "nginx", query="?max_parallel=1&canary=10%25&max_failures=0")
        conforms(api, PULL_PATH, waves)
        waiting = waves.json()["job_id"]
        for step in ("pause", "resume"):
            for status in (200, 409):
                holds_of(f"{JOB_PATH}/{step}", admin.post(f"/job/{waiting}/{step}"), status)
            conforms(api, JOB_PATH, admin.get(f"/job/{waiting}"))

        cluster.broker.stop()
        # Each waits for the broker for some seconds: together they wait once.
        asked: list[tuple[str, str, str, Any]]
        asked = [(path, method, path.format(id=NO_JOB), {}) for path, method in STEERED_JOBS]
        asked += [
            (path, method, path.format(host=REGISTRY), CREDENTIAL if method == "PUT" else {})
            for path, method in REGISTRIES
        ]
        with ThreadPoolExecutor(len(asked)) as callers:
            answers = [
                (path, callers.submit(admin.request, method, url, **more))
                for path, method, url, more in asked
            ]
        for path, late in answers:
            holds_of(path, late.result(), 500)
        for way in ("undrain", "drain"):
            path = f"/agent/{{hostname}}/{way}"
            answer = admin.post(f"/agent/{WEB_1}/{way}")
            if answer.status_code == 500:
                holds_of(path, answer, 500)
    assert tried >= STEERED_ELSEWHERE - {("/agent/{hostname}/undrain", "post", "500")}


STEERED_ELSEWHERE = {
    *(
        (f"{JOB_PATH}/{step}", "post", status)
        for step in JOB_STEPS
        for status in ("200", "403", "409", "500")
    ),
    *((f"{JOB_PATH}/retry", "post", status) for status in ("201", "409", "500")),
    *(
        (f"{JOB_PATH}/{stream}", "get", status)
        for stream in ("events", "progress")
        for status in ("200", "204", "500")
    ),
    *((JOB_PATH, "delete", status) for status in ("204", "500")),
    ("/event", "get", "200"),
    (REGISTRY_PATH, "put", "409"),
    *((path, method.lower(), "500") for path, method in REGISTRIES),
    *(
        (f"/agent/{{hostname}}/{way}", "post", status)
        for way in ("drain", "undrain")
        for status in ("200", "409", "500")
    ),
}


def test_every_documented_answer_is_among_those_tried(api: dict[str, Any]) -> None:
    tried = {(path, method.lower(), str(status)) for path, method, _, status, _ in ANSWERS}
    tried |= {(JOB_PATH, "get", "200"), (JOB_PATH, "get", "500"), ("/health/ready", "get", "200")}
    tried |= STEERED_ELSEWHERE
    documented = {
        (path, method, code) for path, method, entry in entries(api) for code in entry["responses"]
    }
    # These are answered from memory: only a fault of our own makes one fail.
    from_memory = ("/agent", "/agent/{hostname}", "/job", "/event")
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


CONFIGURATION = """\
[dictionaries.targets]
values = ["_all", "_any", "web-01", "group:web"]
[dictionaries.jobs]
values = ["{job}"]
[dictionaries.registries]
values = ["docker.io", "localhost:5000", "registry.internal"]
[parameters]
"path.hostname" = {{ dictionary = "targets", probability = 0.7 }}
"path.id" = {{ dictionary = "jobs", probability = 0.5 }}
"path.host" = {{ dictionary = "registries", probability = 0.7 }}
[generation]
deterministic = true
max-examples = 20
# A stream never ends, and a drained node is of no use to the others.
[[operations]]
include-path-regex = "^/(event|agent/.+/(un)?drain)$"
enabled = false
[checks]
# A node that failed is a 500, and a target that no node carries a 400: both are documented.
not_a_server_error.enabled = false
positive_data_acceptance.enabled = false
"""


def generated(cluster: Cluster, directory: Path) -> str:
    """Send requests made from the document, good and bad, and return the report of no failure."""
    job = cluster.admin.get(f"/node/{WEB_1}/load").json()["job_id"]
    configuration = directory / "schemathesis.toml"
    configuration.write_text(CONFIGURATION.format(job=job))
    process = Process(
        "schemathesis",
        [
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", configuration, "run", f"{cluster.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {cluster.token('admin')}"),
        ],
        logs=directory,
        cwd=directory,
    )
    with process:
        status = process.wait(timeout=120)
    assert status == 0, process.tail(200)
    # An error of our own is a 500 too, and that is documented.
    assert "request broke off" not in cluster.controller.stderr
    return process.stdout


def test_generated_requests_are_answered_as_documented(fleet: Cluster, tmp_path: Path) -> None:
    assert re.search(r"Tested: +20\b", generated(fleet, tmp_path))


# The page that shows it


class Links(HTMLParser):
    """All that an HTML page refers to, and the text of its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.code = ""
        self._in_code = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_code = tag in ("script", "style")
        links = ("src", "href", "action", "srcset", "data", "poster", "manifest")
        self.links += [value or "" for name, value in attrs if name in links]
        self.code += "".join(
            value or "" for name, value in attrs if name.startswith(("style", "on"))
        )

    def handle_endtag(self, tag: str) -> None:
        self._in_code = False

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.code += data


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_documentation_needs_nothing_from_elsewhere(fleet: Cluster, prefix: str) -> None:
    answer = fleet.anyone.get(f"{prefix}/docs")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Links(answer.text)
    fetched = re.findall(
        r"""(?:fetch\(|url\(|import\s*\(?|@import)\s*["']?([^"')\s;]+)""", page.code
    )
    assert fetched == ["openapi.json"]
    assert not re.search(r"""["'(]\s*(https?:)?//""", page.code)
    for link in page.links + fetched:
        assert urljoin(str(answer.url), link) == f"{fleet.url}{prefix}/openapi.json"
    assert fleet.anyone.get(f"{prefix}/openapi.json").status_code == 200


def test_the_documentation_finds_in_the_document_what_it_shows(
    fleet: Cluster, api: dict[str, Any]
) -> None:
    page = Links(fleet.anyone.get("/docs").text)
    for name in ("info.description", "info.version", "components.schemas", "paths"):
        assert f"api.{name}" in page.code
        resolved(api, f"#/{name.replace('.', '/')}")
    for _, _, entry in entries(api):
        assert entry["summary"]
        for response in entry["responses"].values():
            assert response["description"]
            assert content(api, response) if is_json(response) else True
