"""What the documented answers are tried with."""

from typing import Any

from tests.system.openapi import set_requests
from tests.system.openapi.document import JOB_PATH, LIST_PATH, LOAD_PATH, PULL_PATH, REGISTRY_PATH
from tests.testing.cluster import PULL, WEB_1

IMAGE = {"json": {"image": "nginx:1.27"}}
READER: dict[str, Any] = {"role": "read"}
NOBODY: dict[str, Any] = {"role": None}
BARE: dict[str, Any] = {"permissions": ["none:read"]}
LARGE = {"json": {"image": "a" * 2**20}}
TEXT = {"content": b"{}", "headers": {"Content-Type": "text/plain"}}
NO_JOB = "550e8400-e29b-41d4-a716-446655440000"
KEY = {"headers": {"Idempotency-Key": "taken"}}
JOB_STEPS = ("cancel", "pause", "resume")
"""Whoever made the job may take them; others are refused once it is known who that is."""
STEERED_JOBS = [
    (JOB_PATH, "DELETE"),
    (f"{JOB_PATH}/retry", "POST"),
    (f"{JOB_PATH}/cancel", "POST"),
    (f"{JOB_PATH}/pause", "POST"),
    (f"{JOB_PATH}/resume", "POST"),
    (f"{JOB_PATH}/events", "GET"),
    (f"{JOB_PATH}/progress", "GET"),
]
WAITING_NODES = [("/agent/{hostname}/accept", "POST"), ("/agent/{hostname}/reject", "POST")]
STEERED_NODES = [
    *WAITING_NODES,
    ("/agent/{hostname}", "GET"),
    ("/agent/{hostname}/drain", "POST"),
    ("/agent/{hostname}/undrain", "POST"),
]
DECIDED_NODES: list[tuple[str, str, dict[str, Any]]] = [
    ("/agent/{hostname}", "DELETE", {}),
    ("/agent/{hostname}/revoke", "POST", {}),
    ("/agent/{hostname}/label", "POST", {"json": {"labels": ["rack:r1"]}}),
    ("/agent/{hostname}/rename", "POST", {"json": {"name": "web-09"}}),
]
STEERED = [
    *(*STEERED_JOBS, *STEERED_NODES),
    *(("/job", "GET"), ("/event", "GET"), ("/target", "GET")),
]
REGISTRY = "registry.internal:5000"
CREDENTIAL = {"json": {"username": "puller", "password": "s3cret"}}
INVITE_PATH, NO_INVITE = "/invite/{id}", "0123456789abcdef"
INVITES = [
    ("/agent/pending", "GET"),
    ("/invite", "GET"),
    ("/invite", "POST"),
    (INVITE_PATH, "DELETE"),
]
SEALED = {"json": {"key": "0" * 64, "box": "AAAA"}}
ENTRY_PATH = "/audit/{id}"
AUDIT = ["/audit", "/audit/export", "/audit/verify", ENTRY_PATH]
REGISTRIES = [
    ("/registry", "GET"),
    (REGISTRY_PATH, "GET"),
    (REGISTRY_PATH, "PUT"),
    (REGISTRY_PATH, "DELETE"),
]
TOKENS = [
    ("/token", "GET"),
    ("/token", "POST"),
    ("/token/{id}", "GET"),
    ("/token/{id}", "DELETE"),
]
IMAGES = ["/image", "/image/nodes"]
ON_IMAGES: list[tuple[str, str, dict[str, Any]]] = [
    ("image", "GET", {}),
    ("image/inspect?image=nginx", "GET", {}),
    ("image/usage", "GET", {}),
    ("image/tag", "POST", {"json": {"source": "nginx", "image": "nginx:1"}}),
    ("image/prune", "POST", {"json": {}}),
    ("container/docker/image/{image}", "DELETE", {}),
]
"""What is done to the images of nodes, and a good body of each."""
ANSWERS: list[tuple[str, str, str, int, dict[str, Any]]] = [
    (PULL_PATH, "POST", f"/node/_all/{PULL}", 202, IMAGE),
    (PULL_PATH, "POST", f"/node/_any/{PULL}", 202, IMAGE),
    (PULL_PATH, "POST", f"/node/{WEB_1}/{PULL}?expires=1h", 202, IMAGE),
    (PULL_PATH, "POST", f"/node/group:web/{PULL}", 202, {**IMAGE, "prefer": "wait=5"}),
    (PULL_PATH, "POST", f"/node/group:web/{PULL}", 202, {**IMAGE, "prefer": "respond-async"}),
    (PULL_PATH, "POST", f"/node/_all/{PULL}?dry_run=true&canary=1", 200, IMAGE),
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
    (LOAD_PATH, "GET", "/node/_any/load?dry_run=true", 200, {}),
    (LOAD_PATH, "GET", "/node/_any/load", 200, {"prefer": "respond-async"}),
    (LOAD_PATH, "GET", "/node/_none/load", 400, {}),
    (LOAD_PATH, "GET", "/node/_all/load", 401, NOBODY),
    (LOAD_PATH, "GET", "/node/_all/load", 403, BARE),
    (LOAD_PATH, "GET", f"/node/{WEB_1}/load?expires=0s", 500, {}),
    *(
        (
            *(f"/node/{{hostname}}/{path.partition('?')[0]}", method),
            f"/node/{node}/{path.format(image='nginx')}{'&' if '?' in path else '?'}{more}",
            *(200 if (method, status) == ("GET", 202) else status, sent | caller),
        )
        for path, method, sent in ON_IMAGES
        for node, more, status, caller in (
            ("_all", "", 202, {}),
            ("_all", "dry_run=true", 200, {}),
            ("nobody", "", 400, {}),
            (WEB_1, "", 401, NOBODY),
            (WEB_1, "", 403, BARE),
            (WEB_1, "expires=2h", 409, KEY),
            (WEB_1, "expires=0s", 500, {}),
        )
    ),
    *(
        (f"/node/{{hostname}}/{path}", method, f"/node/{WEB_1}/{path}", status, sent)
        for path, method, _ in ON_IMAGES
        if method == "POST"
        for status, sent in ((413, LARGE), (415, TEXT))
    ),
    (JOB_PATH, "GET", "/job/x", 400, {}),
    (JOB_PATH, "GET", f"/job/{NO_JOB}", 401, NOBODY),
    (JOB_PATH, "GET", f"/job/{NO_JOB}", 403, BARE),
    (JOB_PATH, "GET", f"/job/{NO_JOB}", 404, {"prefer": "wait=1"}),
    ("/agent", "GET", "/agent", 200, {}),
    ("/agent", "GET", "/agent?all=1", 400, {}),
    ("/registry", "GET", "/registry?all=1", 400, {}),
    ("/health/status", "GET", "/health/status?all=1", 400, {}),
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
    *(
        (path, method, path.format(hostname=hostname), status, sent | more)
        for path, method, sent in DECIDED_NODES
        for hostname, status, more in (
            (WEB_1, 401, NOBODY),
            (WEB_1, 403, BARE),
            ("_all", 400, {}),
            ("nobody", 404, {}),
            (WEB_1, 409, {}),
        )
    ),
    *(
        (path, method, path.format(hostname=WEB_1), status, sent)
        for path, method, _ in DECIDED_NODES[2:]
        for status, sent in ((413, LARGE), (415, TEXT))
    ),
    (f"{JOB_PATH}/retry", "POST", f"/job/{NO_JOB}/retry", 413, LARGE),
    (f"{JOB_PATH}/retry", "POST", f"/job/{NO_JOB}/retry", 415, TEXT),
    ("/agent/{hostname}", "GET", f"/agent/{WEB_1}", 200, {}),
    *(
        (path, "GET", f"{path}?reference=nginx{more}", status, caller)
        for path in IMAGES
        for more, status, caller in (
            ("", 200, {}),
            ("&limit=0", 400, {}),
            ("", 401, NOBODY),
            ("", 403, BARE),
        )
    ),
    ("/job", "GET", "/job", 200, {}),
    ("/job", "GET", "/job?status=completed&limit=100&since=1d", 200, {}),
    ("/job", "GET", "/job?limit=0", 400, {}),
    ("/event", "GET", "/event?since=x", 400, {}),
    ("/target", "GET", "/target?prefix=group:&limit=5", 200, {}),
    ("/target", "GET", "/target?limit=0", 400, {}),
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
    *(
        (path, method, path.format(id="gone"), status, more)
        for path, method in TOKENS
        for status, more in ((401, NOBODY), (403, BARE))
    ),
    ("/token", "POST", "/token", 201, {"json": {"roles": ["read"], "expires": "1h"}}),
    ("/token", "POST", "/token", 400, {"json": {"roles": ["raed"]}}),
    ("/token", "POST", "/token", 413, LARGE),
    ("/token", "POST", "/token", 415, TEXT),
    ("/token", "GET", "/token", 200, {}),
    ("/token", "GET", "/token?all=1", 400, {}),
    ("/token/{id}", "GET", "/token/none", 404, {}),
    ("/token/{id}", "DELETE", "/token/gone", 200, {}),
    ("/token/{id}", "GET", "/token/gone", 200, {}),
    *(("/token/{id}", method, "/token/a%20b", 400, {}) for method in ("GET", "DELETE")),
    *(
        (path, method, path.format(id=NO_INVITE), status, more)
        for path, method in INVITES
        for status, more in ((401, NOBODY), (403, BARE))
    ),
    *((path, "GET", path, 200, {}) for path in ("/agent/pending", "/invite")),
    *((path, "GET", f"{path}?all=1", 400, {}) for path in ("/agent/pending", "/invite")),
    (INVITE_PATH, "DELETE", "/invite/x", 400, {}),
    (INVITE_PATH, "DELETE", f"/invite/{NO_INVITE}", 404, {}),
    ("/invite", "POST", "/invite", 400, {"json": {"uses": "0"}}),
    # This fleet's controller has no keys to let machines in by.
    ("/invite", "POST", "/invite", 409, {"json": {}}),
    ("/join", "GET", "/join", 409, NOBODY),
    *((path, "POST", path, 409, NOBODY | SEALED) for path in ("/join", "/agent/renew")),
    *(
        (path, "POST", path, 400, NOBODY | {"json": {"key": "0"}})
        for path in ("/join", "/agent/renew")
    ),
    *(
        (path, "POST", path, status, sent)
        for path in ("/invite", "/join", "/agent/renew")
        for status, sent in ((413, LARGE), (415, TEXT))
    ),
    *(
        (path, "GET", path.format(id=NO_JOB), status, more)
        for path in AUDIT
        for status, more in ((401, NOBODY), (403, BARE))
    ),
    *((path, "GET", path, 200, {}) for path in AUDIT[:-1]),
    *((path, "GET", f"{path}?every=1", 400, {}) for path in AUDIT[:-1]),
    (ENTRY_PATH, "GET", "/audit/x", 400, {}),
    (ENTRY_PATH, "GET", f"/audit/{NO_JOB}", 404, {}),
    ("/trust", "GET", "/trust", 401, NOBODY),
    ("/trust", "GET", "/trust", 403, BARE),
    ("/trust", "GET", "/trust", 200, {}),
    ("/trust", "GET", "/trust?every=1", 400, {}),
    ("/health", "GET", "/health", 200, NOBODY),
    ("/health/ready", "GET", "/health/ready", 503, NOBODY),
    ("/health/status", "GET", "/health/status", 503, {}),
    ("/health/status", "GET", "/health/status", 401, NOBODY),
    ("/health/status", "GET", "/health/status", 403, BARE),
    ("/version", "GET", "/version", 200, NOBODY),
    *set_requests.ANSWERS,
]
STEERED_ELSEWHERE = {
    *(
        (f"{JOB_PATH}/{step}", "post", status)
        for step in JOB_STEPS
        for status in ("200", "403", "409", "500")
    ),
    *((f"{JOB_PATH}/retry", "post", status) for status in ("200", "201", "409", "500")),
    *(
        (f"{JOB_PATH}/{stream}", "get", status)
        for stream in ("events", "progress")
        for status in ("200", "204", "500")
    ),
    *((JOB_PATH, "delete", status) for status in ("204", "500")),
    ("/event", "get", "200"),
    (REGISTRY_PATH, "put", "409"),
    *((path, method.lower(), "500") for path, method in REGISTRIES),
    ("/token", "post", "500"),
    ("/token/{id}", "delete", "500"),
    *(
        (f"/agent/{{hostname}}/{way}", "post", status)
        for way in ("drain", "undrain")
        for status in ("200", "409", "500")
    ),
}
TRIED_ELSEWHERE = STEERED_ELSEWHERE | {
    *set_requests.TRIED_ELSEWHERE,
    *((path, "post", status) for path, _ in WAITING_NODES for status in ("200", "500")),
    *((path, method.lower(), "500") for path, method in INVITES),
    *((INVITE_PATH, "delete", "200"), ("/invite", "post", "201")),
    *((path, "get", "500") for path in AUDIT),
    # It takes an engine to say that there is no such image.
    ("/node/{hostname}/image/inspect", "get", "404"),
    ("/node/{hostname}/image/tag", "post", "404"),
    (ENTRY_PATH, "get", "200"),
    ("/join", "get", "200"),
    *(
        (path, "post", status)
        for path in ("/join", "/agent/renew")
        for status in ("200", "403", "500")
    ),
    *(
        (path, method.lower(), status)
        for path, method, _ in DECIDED_NODES
        for status in ("200", "500")
    ),
}
"""With those that the tests of joining, of shutting out and of the audit try."""
