"""Calls of endpoints: what each one requests, and how its answer is read. No connection."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from towline.client.connection import MARGIN, body, foreign
from towline.client.models import JobSnapshot
from towline.endpoint import AnyEndpoint, Endpoint
from towline.endpoints import results
from towline.endpoints.dry_run import DryRun
from towline.endpoints.operations import endpoint_of
from towline.endpoints.views import JobView
from towline.errors import ApiError, sentence
from towline.operation import Operation
from towline.options import PREFER, JobOptions
from towline.signature import Parameter, Place

R = TypeVar("R")
S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True)
class Call(Generic[R]):
    """One request.

    Attributes:
        method, path: of the route, the path with its placeholders filled in.
        read: turns the answer into what the caller gets.
        wait: seconds that the request asks the controller to wait.
        headers, params, json, data, files: the rest of the request, as an HTTP client takes it.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], R]
    wait: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    json: dict[str, Any] | None = None
    data: dict[str, str] | None = None
    files: dict[str, tuple[str, bytes]] | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of an HTTP client's `request`."""
        return {
            "method": self.method,
            "url": self.path,
            "headers": self.headers,
            "params": self.params,
            "json": self.json,
            "data": self.data,
            "files": self.files,
            "timeout": self.wait + MARGIN,
        }


def segment(text: str) -> str:
    """Return `text` as one segment of a path; dots alone would be taken for a relative path."""
    return quote(text, safe=":") if text.strip(".") else text.replace(".", "%2E")


def of(endpoint: Endpoint[..., R], values: dict[str, Any], options: JobOptions) -> Call[R]:
    """Return the call of an endpoint.

    Args:
        values: its parameters by name; those of a group as one struct, or not at all.
        options: for a group that is not among the values.

    Raises:
        ApiError: a parameter is not valid.
    """

    result = endpoint.dry_run if values.get("dry_run") else endpoint.result

    def read(response: httpx.Response) -> R:
        if response.status_code in endpoint.success and not response.is_success:
            # Not well, and said as what was asked for; an error may have this status, too.
            with contextlib.suppress(msgspec.DecodeError):
                return msgspec.json.decode(response.content, type=endpoint.result)  # type: ignore[no-any-return]
        found = body(response)
        if result is None:
            return None  # type: ignore[return-value]
        try:
            return msgspec.convert(found, result)  # type: ignore[no-any-return]
        except msgspec.ValidationError as error:
            raise foreign(response, error) from error

    return _request(endpoint, values, options, read)


def _request(
    endpoint: AnyEndpoint,
    values: dict[str, Any],
    options: JobOptions,
    read: Callable[[httpx.Response], R],
) -> Call[R]:
    signature = endpoint.signature
    given = dict(values)
    for group, kind in signature.groups.items():
        chosen = given.pop(group, options if isinstance(options, kind) else kind())
        for name in kind.__struct_fields__:
            if (value := getattr(chosen, name)) is not None:
                given[name] = value
    try:
        signature.check(given)
    except (msgspec.ValidationError, ValueError) as error:
        raise ApiError(
            sentence(f"{endpoint.label}: a parameter is not valid", error), str(error), status=400
        ) from error
    path = endpoint.path
    headers: dict[str, str] = {}
    wait = 0.0
    placed: dict[Place, dict[str, Any]] = {place: {} for place in Place}
    for parameter in signature.parameters:
        name = parameter.name
        value = given.get(name)
        if name not in given or (value is None and parameter.default is None):
            continue
        if parameter.place is Place.HEADER:
            headers[parameter.header.name] = _header(endpoint, parameter, value)
            if parameter.header.name == PREFER:
                wait = float(given[name])
        elif parameter.place is Place.PATH:
            path = path.replace(f"{{{name}}}", segment(str(msgspec.to_builtins(value))))
        elif parameter.place is Place.PART:
            placed[Place.PART][name] = _part(value)
        else:
            placed[parameter.place][name] = msgspec.to_builtins(value)
    fields = placed[Place.BODY]
    return Call(
        endpoint.method,
        path,
        read,
        wait=wait,
        headers=headers,
        params={name: _text(value) for name, value in placed[Place.QUERY].items()},
        json=fields if signature.has_body and not signature.takes_file else None,
        data={name: _text(value) for name, value in fields.items()}
        if signature.takes_file
        else None,
        files=placed[Place.PART] or None,
    )


def _part(upload: Any) -> tuple[str, bytes]:
    """Return an `Upload` as an HTTP client takes it; one without a name would be no file."""
    return upload.filename or "file", upload.content


def _header(endpoint: AnyEndpoint, parameter: Parameter, value: object) -> str:
    """Return a value as its header has it; raises `ApiError` where no header can."""
    text = parameter.header.write(value)
    if not (text.isascii() and text.isprintable()):
        raise ApiError(
            f"{endpoint.label}: a parameter is not valid: `{parameter.name}` stands in a header",
            "Headers have printable ASCII characters alone",
            status=400,
        )
    return text


def _text(value: object) -> str:
    """Return a value as queries and forms have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Made(msgspec.Struct):
    """What is answered to whoever runs an operation."""

    job_id: str
    results: list[dict[str, Any]]


def run(
    operation: Operation[..., S], on: str, values: dict[str, Any], options: JobOptions
) -> Call[JobSnapshot[S]]:
    """Return the call that runs an operation; raises `ApiError` where a parameter is not valid."""

    def read(response: httpx.Response) -> JobSnapshot[S]:
        found = body(response)
        try:
            made = msgspec.convert(found, _Made)
        except msgspec.ValidationError as error:
            raise foreign(response, error) from error
        return snapshot(operation, made.job_id, made.results, response.status_code)

    return _request(endpoint_of(operation), {"hostname": on, **values}, options, read)


def dry_run(
    operation: Operation[..., Any], on: str, values: dict[str, Any], options: JobOptions
) -> Call[DryRun]:
    """Return the call that asks what an operation would do; raises as `run`."""

    def read(response: httpx.Response) -> DryRun:
        found = body(response)
        try:
            return msgspec.convert(found, DryRun)
        except msgspec.ValidationError as error:
            raise foreign(response, error) from error

    asked = {"hostname": on, "dry_run": True, **values}
    return _request(endpoint_of(operation), asked, options, read)


def attached(operation: Operation[..., S], job: JobView) -> JobSnapshot[S]:
    """Return the results of a job so far; raises `ApiError` where it is of another operation."""
    if job.operation.type != operation.name:
        raise ApiError(
            f"Job {job.id} is one of {job.operation.type}, not of {operation.name}.",
            "Name the operation that it was made with",
            job.id,
            status=400,
        )
    return snapshot(operation, job.id, job.rows or [])


def snapshot(
    operation: Operation[..., S], job_id: str, rows: list[dict[str, Any]], status: int = 200
) -> JobSnapshot[S]:
    """Return a job with the results that a controller has answered.

    Args:
        rows: the results, as they stand in the answer's body.
        status: the answer's HTTP status, for errors.

    Raises:
        ApiError: they aren't those of this operation.
    """
    try:
        return JobSnapshot(job_id, results.read(operation, rows))
    except msgspec.ValidationError as error:
        raise ApiError(
            sentence(f"{operation.label}: the answer can't be read", error),
            str(error),
            job_id,
            status=status,
        ) from error
