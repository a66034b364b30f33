"""Everything that can be asked: what changes something, or is refused, stands in the audit."""

import contextlib
import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system.permissions.requests import (
    OF_NODES,
    OFFERED,
    OPEN,
    PREFIXES,
    each_prefix,
    job_of,
    send,
)
from tests.testing.answers import refused
from tests.testing.cluster import WEB_1, Cluster
from tests.testing.command import CommandLine
from tests.testing.process import wait_until

GUARDED = sorted(OFFERED.keys() - OPEN)
HARMLESS = OF_NODES | {"agent.drain", "agent.undrain"}
"""What leaves a node as it is, or can be taken back."""
CHANGING = sorted(name for name, each in OFFERED.items() if each.method != "GET")
_ADDRESSES = (f"127.1.{number // 250}.{number % 250 + 1}" for number in itertools.count())


class Callers:
    """Clients with addresses of their own: many refusals of one address are one entry."""

    def __init__(self, fleet: Cluster, clients: contextlib.ExitStack) -> None:
        self.fleet = fleet
        self._clients = clients

    def make(self, token: str | None) -> tuple[httpx.Client, str, str]:
        """Return a client, its address, and the trace of its requests."""
        address, trace = next(_ADDRESSES), secrets.token_hex(16)
        headers = {"traceparent": f"00-{trace}-{'1' * 16}-01"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        made = httpx.Client(
            base_url=self.fleet.url,
            headers=headers,
            timeout=60,
            # Loading certificates for each would take most of the time.
            transport=httpx.HTTPTransport(local_address=address, verify=False),
        )
        return self._clients.enter_context(made), address, trace


@pytest.fixture
def callers(fleet: Cluster) -> Iterator[Callers]:
    with contextlib.ExitStack() as clients:
        yield Callers(fleet, clients)


def recorded(fleet: Cluster, traces: set[str]) -> dict[str, dict[str, Any]]:
    """Return the entries of some traces, when all are stored."""
    found: dict[str, dict[str, Any]] = {}

    def there() -> bool:
        nonlocal found
        items = fleet.admin.get("/audit/export?since=5m").raise_for_status().json()["items"]
        found = {each["trace_id"]: each for each in items if each["trace_id"] in traces}
        return found.keys() == traces

    wait_until(there, what="all entries of the audit")
    return found


def test_every_refused_request_has_its_entry(fleet: Cluster, callers: Callers) -> None:
    sent: dict[str, tuple[str, str, str, int, str]] = {}
    job = job_of(fleet, WEB_1)
    for name, prefix in zip(GUARDED, itertools.cycle(PREFIXES), strict=False):
        for status, subject in ((401, ""), (403, f"nobody of {name}")):
            token = fleet.token(permissions=[], subject=subject) if subject else None
            client, address, trace = callers.make(token)
            answer = send(client, OFFERED[name], prefix, id=job)
            refused(answer, status)
            sent[trace] = (name, subject, address, status, answer.request.url.path)
    found = recorded(fleet, set(sent))
    for trace, (name, subject, address, status, path) in sent.items():
        entry = found[trace]
        assert (entry["operation_id"], entry["user"]) == (name, subject)
        assert (entry["source_ip"], entry["response_code"]) == (address, status)
        assert (entry["method"], entry["path"]) == (OFFERED[name].method, path)
        assert bool(entry.get("token_id")) is bool(subject)


def test_every_changing_request_has_its_entry(fleet: Cluster, callers: Callers) -> None:
    sent: dict[str, tuple[str, httpx.Response, str]] = {}
    for name in CHANGING:
        for prefix in each_prefix(fleet):
            subject = "" if name in OPEN else f"admin of {name}"
            token = fleet.token("admin", subject=subject) if subject else None
            client, _, trace = callers.make(token)
            # Who takes a node out, or gives it another name, takes it from all other tests.
            node = WEB_1 if name in HARMLESS else "nobody"
            names = {"hostname": node, "id": job_of(fleet, WEB_1)}
            sent[trace] = (name, send(client, OFFERED[name], prefix, **names), subject)
    found = recorded(fleet, set(sent))
    for trace, (name, answer, subject) in sent.items():
        entry = found[trace]
        assert (entry["operation_id"], entry["user"]) == (name, subject)
        assert entry["response_code"] == answer.status_code
        assert entry["roles"] == (["admin"] if subject else [])
        assert ("token_id" in entry) is bool(subject)
        location = answer.headers.get("Location", "")
        if location.startswith("/job/"):
            assert location == f"/job/{entry['job_id']}"
        elif location:
            assert entry["made"] == location
        if "{hostname}" in OFFERED[name].path:
            assert entry["target"].split()[0] == (WEB_1 if name in HARMLESS else "nobody")
    succeeded = {name for name, answer, _ in sent.values() if answer.is_success}
    assert {"agent.drain", "job.delete", "registry.put", "token.revoke"} <= succeeded


def test_what_only_looks_has_no_entry(fleet: Cluster, callers: Callers) -> None:
    client, _, trace = callers.make(fleet.token("admin"))
    for path in ("/job", f"/agent/{WEB_1}", "/node/_all/load", "/audit", "/nothing"):
        client.get(path)
    later, _, last = callers.make(fleet.token("admin"))
    later.post(f"/agent/{WEB_1}/undrain")
    recorded(fleet, {last})
    items = fleet.admin.get("/audit/export?since=5m").json()["items"]
    assert trace not in {each["trace_id"] for each in items}


def test_a_flood_of_refused_requests_is_few_entries_with_a_count(
    fleet: Cluster, callers: Callers
) -> None:
    before = fleet.broker.last_sequence("AUDIT")
    client, address, _ = callers.make("x.y.z")
    for number in range(300):
        refused(client.get(f"/job/{number}"), 401)
    items = fleet.admin.get("/audit/export?since=5m").json()["items"]
    assert len([each for each in items if each["source_ip"] == address]) <= 3
    assert fleet.broker.last_sequence("AUDIT") - before <= 10


def test_no_secret_stands_in_it(fleet: Cluster, callers: Callers) -> None:
    password, token = secrets.token_hex(12), fleet.token("admin", subject="secretive")
    client, _, trace = callers.make(token)
    body = {"username": "ann", "password": password}
    client.put("/registry/registry.example", json=body).raise_for_status()
    client.delete("/registry/registry.example").raise_for_status()
    client.put(f"/registry/ann:{password}@registry.example", json=body)
    client.post("/token", json={"roles": ["read"], "x": password})
    client.post(f"/agent/{WEB_1}/drain?password={password}")
    # Whoever is to name a token's id may send the token.
    client.delete(f"/token/{token}")
    client.post(f"/agent/{token}/drain")
    maker, _, third = callers.make(token)
    made = maker.post("/token", json={"roles": ["read"]}).raise_for_status().json()
    wrong, _, last = callers.make(f"{token}x")
    refused(wrong.get("/agent"), 401)
    entries = recorded(fleet, {trace, last, third})
    assert entries[third]["made"] == f"/token/{made['id']}"
    stored = b"".join(data for _, data in fleet.broker.messages("AUDIT"))
    assert trace.encode() in stored
    signed = token.rpartition(".")
    for secret in (password, signed[0], signed[2], made["token"]):
        assert secret.encode() not in stored


def test_it_can_be_listed_read_and_verified(
    fleet: Cluster, callers: Callers, tmp_path: Path
) -> None:
    client, address, trace = callers.make(fleet.token("admin", subject="auditor"))
    client.post(f"/agent/{WEB_1}/undrain")
    entry = recorded(fleet, {trace})[trace]
    assert client.get(f"/audit/{entry['id']}").json() == {"entry": entry}
    assert client.get("/audit?user=auditor&limit=1").json()["items"] == [entry]
    assert client.get("/audit?user=nobody%20at%20all").json() == {"total_items": 0, "items": []}
    refused(client.get("/audit/x"), 400)

    towline = CommandLine(
        tmp_path, {"TOWLINE_URL": fleet.url, "TOWLINE_TOKEN": fleet.token("admin")}
    )
    listed = towline("audit", "--user", "auditor")
    assert (listed.status, listed.stderr) == (0, "")
    assert address in listed.stdout
    verified = towline("audit", "verify")
    assert verified.status == 0, verified.stdout
    assert verified.stdout.startswith("intact: ")

    # Somebody who has the broker puts an entry in.
    named = b'"caller":"auditor"'
    data = next(each for _, each in reversed(fleet.broker.messages("AUDIT")) if named in each)
    fleet.broker.publish("audit", data.replace(named, b'"caller":"someone"'))
    verified = towline("audit", "verify")
    assert verified.status == 1
    assert "was put in" in verified.stdout or "was changed" in verified.stdout
    assert "NOT INTACT: " in verified.stdout
