"""How each operation that is there is asked: a good request, and those that are refused."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpx

from tests.system.surface.facts import OPERATIONS
from tests.testing.cluster import PULL, WEB_1, Cluster
from tests.testing.joining import put_pending
from tests.testing.process import wait_until
from tests.testing.registry import PushedImage

NO_JOB = "550e8400-e29b-41d4-a716-446655440000"
DRAIN, UNDRAIN = (f"POST /agent/{{hostname}}/{way}" for way in ("drain", "undrain"))
ACCEPT, REJECT = (f"POST /agent/{{hostname}}/{way}" for way in ("accept", "reject"))
RETRY = "POST /job/{id}/retry"
PULL_OPERATION = f"POST /node/{{hostname}}/{PULL}"
REMOVE = "container/docker/image"
REMOVE_OPERATION = f"DELETE /node/{{hostname}}/{REMOVE}/{{image}}"
AUDIT_ENTRY = "GET /audit/{id}"
VERSION = "GET /version"
PROBES = READY, STATUS = "GET /health/ready", "GET /health/status"


class Place(NamedTuple):
    """A cluster, and an image that its nodes can pull."""

    cluster: Cluster
    image: PushedImage


class Asked(NamedTuple):
    """What is sent, beside the method."""

    path: str
    body: Mapping[str, Any] | None = None


def _job(place: Place) -> str:
    """Return the id of a job that has ended."""
    answer = place.cluster.admin.get("/node/_all/load")
    return str(answer.raise_for_status().json()["job_id"])


def _state(place: Place, way: str) -> Asked:
    """Let a node be such that it can be drained, or undrained."""
    other = {"drain": "undrain", "undrain": "drain"}[way]
    place.cluster.admin.post(f"/agent/{WEB_1}/{other}")
    return Asked(f"/agent/{WEB_1}/{way}")


def _entry(place: Place) -> Asked:
    """Return the newest entry of the audit, once there is one."""
    place.cluster.admin.post(f"/job/{NO_JOB}/cancel")
    entries: list[dict[str, Any]] = []

    def there() -> bool:
        nonlocal entries
        entries = place.cluster.admin.get("/audit").raise_for_status().json()["items"]
        return bool(entries)

    wait_until(there, what="an entry of the audit")
    return Asked(f"/audit/{entries[0]['id']}")


def waiting_machine(cluster: Cluster) -> str:
    """Have a machine wait to be let in; return its hostname."""
    hostname = f"new-{uuid.uuid4().hex[:8]}"
    put_pending(cluster.broker, hostname)

    def waits() -> bool:
        found = cluster.admin.get("/agent/pending").json()["agents"]
        return hostname in {each["hostname"] for each in found}

    wait_until(waits, what=f"{hostname} to wait")
    return hostname


GOOD: dict[str, Callable[[Place], Asked]] = {
    "GET /agent": lambda place: Asked("/agent"),
    "GET /agent/{hostname}": lambda place: Asked(f"/agent/{WEB_1}"),
    DRAIN: lambda place: _state(place, "drain"),
    UNDRAIN: lambda place: _state(place, "undrain"),
    "GET /audit": lambda place: Asked("/audit"),
    "GET /audit/export": lambda place: Asked("/audit/export"),
    AUDIT_ENTRY: _entry,
    "GET /agent/pending": lambda place: Asked("/agent/pending"),
    ACCEPT: lambda place: Asked(f"/agent/{waiting_machine(place.cluster)}/accept"),
    REJECT: lambda place: Asked(f"/agent/{waiting_machine(place.cluster)}/reject"),
    VERSION: lambda place: Asked("/version"),
    "GET /health": lambda place: Asked("/health"),
    READY: lambda place: Asked("/health/ready"),
    STATUS: lambda place: Asked("/health/status"),
    "GET /job": lambda place: Asked("/job"),
    "GET /job/{id}": lambda place: Asked(f"/job/{_job(place)}"),
    "DELETE /job/{id}": lambda place: Asked(f"/job/{_job(place)}"),
    RETRY: lambda place: Asked(f"/job/{_job(place)}/retry", {"target_hostname": WEB_1}),
    "GET /node/{hostname}/load": lambda place: Asked("/node/_all/load"),
    "GET /node/{hostname}/container/docker": lambda place: Asked("/node/_all/container/docker"),
    # That nothing is there is no error.
    REMOVE_OPERATION: lambda place: Asked(f"/node/{WEB_1}/{REMOVE}/nothing%2Fthere%3A1.0"),
    PULL_OPERATION: lambda place: Asked(f"/node/_all/{PULL}", {"image": place.image.reference}),
}
"""A request that succeeds, of each operation that is there: one that comes is added here."""

ALSO = {RETRY: ["node:read"]}
"""What a request takes beside the operation's permission: to retry a job is to do what it does."""


def refusals(operation: str) -> list[int]:
    """Return the codes with which an operation may be refused."""
    codes = OPERATIONS[operation].errors
    # It takes nothing that could be wrong.
    return [code for code in codes if (operation, code) != (VERSION, 400)]


def split(operation: str) -> tuple[str, str]:
    """Return method and path of an operation."""
    method, _, path = operation.partition(" ")
    return method, path


def unnamed(operation: str, **names: str) -> str:
    """Return a path to what is not there, as far as `names` don't say otherwise."""
    _, path = split(operation)
    return path.format(**{"hostname": "nobody", "id": NO_JOB, "image": "nginx", **names})


def send(client: httpx.Client, operation: str, asked: Asked) -> httpx.Response:
    """Send a request."""
    return client.request(split(operation)[0], asked.path, json=asked.body)
