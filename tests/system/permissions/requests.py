"""A request for everything that can be asked, made from what is offered."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec

from tests.testing.cluster import WEB_1, Cluster
from towline.endpoint import AnyEndpoint
from towline.endpoints import offered
from towline.endpoints.operations import endpoint_of
from towline.operation import catalog
from towline.signature import Place

PREFIXES = ("", "/api")
NO_JOB = "550e8400-e29b-41d4-a716-446655440000"
OFFERED: dict[str, AnyEndpoint] = {
    each.name: each for each in (*offered, *(endpoint_of(operation) for operation in catalog))
}
"""Everything that can be asked, by name: what comes is in the tests without being named there."""
OF_NODES = {operation.name for operation in catalog}
OPEN = {"agent.renew", "health.get", "health.ready", "join.bundle", "join.join", "version.get"}
NAMES = {"hostname": "nobody", "id": NO_JOB, "host": "registry.example"}
"""What stands for the placeholders of paths: nothing that is there."""
VALUES = {"image": "nginx:1", "username": "ann", "password": "s3cret"}
ADMINS_DOMAINS = ("audit", "token", "trust")
ADMINS_ALONE = ("agent:write", "registry:write", "job:admin")


def may(role: str, permission: str) -> bool:
    """Return whether a role holds a permission: the rule, written a second time."""
    domain, _, verb = permission.partition(":")
    if role in ("admin", "nobody"):
        return role == "admin"
    if domain in ADMINS_DOMAINS or permission in ADMINS_ALONE:
        return False
    return verb == "read" or (verb == "write" and role == "write")


def _value(hint: Any) -> Any:
    """Return a value that a required parameter of some type may have."""
    kind = msgspec.inspect.type_info(hint)
    while isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    made: dict[type, Any] = {
        msgspec.inspect.StrType: "x",
        msgspec.inspect.IntType: 1,
        msgspec.inspect.BoolType: True,
        msgspec.inspect.ListType: [],
    }
    return made[type(kind)]


def send(
    client: httpx.Client, endpoint: AnyEndpoint, prefix: str = "", **names: str
) -> httpx.Response:
    """Send a request that would be taken; of a stream only how it begins is read."""
    path = re.sub(r"{(\w+)}", lambda found: {**NAMES, **names}.get(found[1], "x"), endpoint.path)
    body = {
        each.name: VALUES.get(each.name, _value(each.hint))
        for each in endpoint.signature.at(Place.BODY)
        if each.required
    }
    for group in endpoint.either[:1]:
        body |= {name: VALUES[name] for name in group}
    query = {each.name: "x" for each in endpoint.signature.at(Place.QUERY) if each.required}
    json = body if endpoint.signature.has_body else None
    with client.stream(endpoint.method, prefix + path, params=query, json=json) as answer:
        if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            answer.read()
    return answer


def job_of(cluster: Cluster, target: str, subject: str = "maker") -> str:
    """Return a job that somebody has made, and that has ended."""
    maker = cluster.client(cluster.token("admin", subject=subject))
    answer = maker.get(f"/node/{target}/load")
    return str(answer.raise_for_status().json()["job_id"])


def each_prefix(cluster: Cluster) -> Iterator[str]:
    """Yield the prefixes, and leave the nodes as they were, whatever is tried with each."""
    for prefix in PREFIXES:
        yield prefix
        cluster.admin.post(f"/agent/{WEB_1}/undrain")
