"""The calls of the API: what to ask for and how to read the answer, without the connection."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

import msgspec

from towline.client.connection import MARGIN
from towline.client.models import (
    ApiError,
    Cancelled,
    JobPage,
    JobState,
    JobView,
    NodeView,
    RegistryView,
    Result,
    Retried,
    Steered,
)
from towline.client.options import Options
from towline.operation import Operation

R = TypeVar("R")
S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True)
class Call(Generic[R]):
    """One request.

    Attributes:
        wait: seconds that it asks the controller to wait; None for an answer at once.
        expected: the fields that the answer must have.
        read: makes the answer's body what the caller gets.
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
        """Return what an HTTP client's `request` takes."""
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
    """Return `text` as one segment of a path; dots alone would be taken for a step."""
    return quote(text, safe=":") if text.strip(".") else text.replace(".", "%2E")


def run(
    operation: Operation[..., S], on: str, values: dict[str, Any], options: Options
) -> Call[JobState[S]]:
    """Return the call that runs an operation; raises `ApiError` for a parameter that is wrong."""
    try:
        parameters = operation.read(values)
    except (msgspec.ValidationError, ValueError) as error:
        raise ApiError(f"{operation.name}: a parameter is not valid.", str(error), 400) from error
    plain: dict[str, Any] = msgspec.to_builtins(parameters)
    path = operation.path
    for name in list(plain):
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", segment(str(plain.pop(name))))
    query: dict[str, Any] = dict(options.query())
    return Call(
        operation.method,
        f"/node/{segment(on)}/{path}",
        lambda body: state(operation, body["job_id"], body["results"], operation.success),
        expected=("job_id", "results"),
        wait=options.wait,
        headers=options.headers(),
        params=query if operation.takes_body else query | plain,
        json=plain if operation.takes_body else None,
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


def pause(job_id: str, *, back: bool) -> Call[Steered]:
    """Return the call that lets no more nodes of a job have their turn, or lets them again."""
    return Call(
        "POST",
        f"/job/{segment(job_id)}/{'resume' if back else 'pause'}",
        lambda body: cast(Steered, body),
        expected=("job_id", "message"),
    )


def retry(job_id: str, on: str | None, options: Options) -> Call[Retried]:
    """Return the call that does a job again."""
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


def drain(name: str, *, back: bool) -> Call[str]:
    """Return the call that lets a node take no work, or take work again."""
    return Call(
        "POST",
        f"/agent/{segment(name)}/{'undrain' if back else 'drain'}",
        lambda body: str(body["message"]),
        expected=("message",),
    )


def registries() -> Call[list[RegistryView]]:
    """Return the call for all registries that a credential is kept for."""
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
    """Return the call that forgets a registry's credential."""
    return Call("DELETE", f"/registry/{segment(host)}", lambda body: None)


class _Outcome(msgspec.Struct, frozen=True):
    """What every operation's result has."""

    hostname: str
    status: str
    error: str | None = None
    waits: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    id: str
    results: list[_Outcome]


def state(operation: Operation[..., S], job_id: str, results: Any, status: int) -> JobState[S]:
    """Read the results of a job; raises `ApiError` where they aren't those of this operation."""
    try:
        answer = msgspec.convert({"id": job_id, "results": results}, _Answer)
        values = [
            msgspec.convert(result, operation.result) if outcome.status == "ok" else None
            for outcome, result in zip(answer.results, results, strict=True)
        ]
    except msgspec.ValidationError as error:
        raise ApiError(
            f"{operation.name}: the answer can't be read.", str(error), status
        ) from error
    read = [
        Result(outcome.hostname, outcome.status, value, outcome.error, outcome.waits)
        for outcome, value in zip(answer.results, values, strict=True)
    ]
    return JobState(answer.id, read)
