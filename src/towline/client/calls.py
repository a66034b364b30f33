"""The calls of the API: what each one requests, and how its answer is read. No connection."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, cast
from urllib.parse import quote

import msgspec

from towline.client.connection import MARGIN
from towline.client.models import (
    ApiError,
    Cancelled,
    JobPage,
    JobSnapshot,
    JobView,
    NodeView,
    RegistryView,
    Result,
    Retried,
    Steered,
)
from towline.client.options import Options
from towline.errors import sentence
from towline.operation import OUTCOME, Operation

R = TypeVar("R")
S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True)
class Call(Generic[R]):
    """One request.

    Attributes:
        method, path: of the route, the path with its placeholders filled in.
        read: turns the answer's body into what the caller gets.
        expected: the fields that the answer must have.
        wait: seconds that the request asks the controller to wait; None where it can't wait.
        headers, params, json: the rest of the request: its headers, query and body.
    """

    method: str
    path: str
    read: Callable[[dict[str, Any]], R]
    expected: tuple[str, ...] = ()
    wait: float | None = None
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    json: dict[str, Any] | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of an HTTP client's `request`."""
        headers = dict(self.headers)
        if self.wait is not None:
            headers["Prefer"] = f"wait={math.ceil(self.wait)}" if self.wait else "respond-async"
        return {
            "method": self.method,
            "url": self.path,
            "headers": headers,
            "params": self.params,
            "json": self.json,
            "timeout": (self.wait or 0.0) + MARGIN,
        }


def segment(text: str) -> str:
    """Return `text` as one segment of a path; dots alone would be taken for a relative path."""
    return quote(text, safe=":") if text.strip(".") else text.replace(".", "%2E")


def run(
    operation: Operation[..., S], on: str, values: dict[str, Any], options: Options
) -> Call[JobSnapshot[S]]:
    """Return the call that runs an operation; raises `ApiError` where a parameter is not valid."""
    try:
        parameters = operation.read(values)
    except (msgspec.ValidationError, ValueError) as error:
        raise ApiError(
            sentence(f"{operation.label}: a parameter is not valid", error), str(error), 400
        ) from error
    plain: dict[str, Any] = msgspec.to_builtins(parameters)
    path = operation.route
    for name in list(plain):
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", segment(str(plain.pop(name))))
    query: dict[str, Any] = dict(options.query())
    return Call(
        operation.method,
        path.replace("{hostname}", segment(on)),
        lambda body: snapshot(operation, body["job_id"], body["results"], operation.success),
        expected=("job_id", "results"),
        wait=options.wait,
        headers=options.headers(),
        params=query if operation.signature.has_body else query | plain,
        json=plain if operation.signature.has_body else None,
    )


def job(job_id: str, wait: float) -> Call[JobView]:
    """Return the call for one job."""
    return Call(
        "GET",
        f"/job/{segment(job_id)}",
        lambda body: cast(JobView, body),
        expected=("id", "results"),
        wait=wait or None,
    )


def jobs(filters: dict[str, Any]) -> Call[JobPage]:
    """Return the call for a page of jobs."""
    params = {name: value for name, value in filters.items() if value is not None}
    return Call(
        "GET",
        "/job",
        lambda body: cast(JobPage, body),
        expected=("items", "total_items"),
        params=params,
    )


def progress(job_id: str, node: str | None) -> tuple[str, dict[str, Any]]:
    """Return path and query of the stream of a job's progress."""
    return f"/job/{segment(job_id)}/progress", {"node": node}


def cancel(job_id: str, wait: float) -> Call[Cancelled]:
    """Return the call that stops a job."""
    return Call(
        "POST",
        f"/job/{segment(job_id)}/cancel",
        lambda body: cast(Cancelled, body),
        expected=("job_id", "results"),
        wait=wait,
    )


def steer(job_id: str, verb: Literal["pause", "resume"]) -> Call[Steered]:
    """Return the call that pauses or resumes a job."""
    return Call(
        "POST",
        f"/job/{segment(job_id)}/{verb}",
        lambda body: cast(Steered, body),
        expected=("job_id", "message"),
    )


def retry(job_id: str, on: str | None, options: Options) -> Call[Retried]:
    """Return the call that does a job again, on the target `on` where it is given."""
    return Call(
        "POST",
        f"/job/{segment(job_id)}/retry",
        lambda body: cast(Retried, body),
        expected=("job_id", "status"),
        wait=options.wait,
        headers=options.headers(),
        params=dict(options.query()),
        json={} if on is None else {"target_hostname": on},
    )


def delete_job(job_id: str) -> Call[None]:
    """Return the call that deletes a job."""
    return Call("DELETE", f"/job/{segment(job_id)}", lambda body: None)


def nodes() -> Call[list[NodeView]]:
    """Return the call for all registered nodes."""
    return Call(
        "GET", "/agent", lambda body: cast(list[NodeView], body["agents"]), expected=("agents",)
    )


def node(name: str) -> Call[NodeView]:
    """Return the call for one node."""
    return Call(
        "GET",
        f"/agent/{segment(name)}",
        lambda body: cast(NodeView, body),
        expected=("hostname", "status"),
    )


def schedule(name: str, verb: Literal["drain", "undrain"]) -> Call[str]:
    """Return the call that drains or undrains a node."""
    return Call(
        "POST",
        f"/agent/{segment(name)}/{verb}",
        lambda body: str(body["message"]),
        expected=("message",),
    )


def registries() -> Call[list[RegistryView]]:
    """Return the call for all registries that have a credential."""
    return Call(
        "GET",
        "/registry",
        lambda body: cast(list[RegistryView], body["registries"]),
        expected=("registries",),
    )


def registry(host: str) -> Call[RegistryView]:
    """Return the call for one registry."""
    return Call(
        "GET",
        f"/registry/{segment(host)}",
        lambda body: cast(RegistryView, body),
        expected=("registry",),
    )


def set_registry(host: str, given: dict[str, str | None]) -> Call[RegistryView]:
    """Return the call that keeps a credential for a registry."""
    return Call(
        "PUT",
        f"/registry/{segment(host)}",
        lambda body: cast(RegistryView, body),
        expected=("registry",),
        json={name: value for name, value in given.items() if value is not None},
    )


def remove_registry(host: str) -> Call[None]:
    """Return the call that removes a registry's credential."""
    return Call("DELETE", f"/registry/{segment(host)}", lambda body: None)


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the results of all operations have in common."""

    hostname: str
    status: str
    error: str | None = None
    waits: str | None = None
    machine_id: str | None = None
    reason: str | None = None


class _Beside(_Outcome, frozen=True, kw_only=True):
    """The same beside a status of the operation's own."""

    status: str = msgspec.field(name=OUTCOME)


def snapshot(
    operation: Operation[..., S], job_id: str, results: Any, status: int
) -> JobSnapshot[S]:
    """Return a job with the results that a controller has answered.

    Args:
        results: as they stand in the answer's body.
        status: the answer's HTTP status, for errors.

    Raises:
        ApiError: the results aren't those of this operation.
    """
    try:
        kinds: Any = list[_Beside] if operation.status == OUTCOME else list[_Outcome]
        outcomes: list[_Outcome] = msgspec.convert(results, kinds)
        values = [
            msgspec.convert(result, operation.result) if outcome.status == "ok" else None
            for outcome, result in zip(outcomes, results, strict=True)
        ]
        identity = msgspec.convert(job_id, str)
    except msgspec.ValidationError as error:
        raise ApiError(
            sentence(f"{operation.label}: the answer can't be read", error), str(error), status
        ) from error
    read = [
        Result(value=value, **msgspec.structs.asdict(outcome))
        for outcome, value in zip(outcomes, values, strict=True)
    ]
    return JobSnapshot(identity, read)
