"""The Python client: every operation, typed to its result.

Example:
    with towline.Client("http://127.0.0.1:8080", token) as client:
        job = client.run(docker.pull, on="_all", image="nginx:1.27")
        for result in job.results:
            print(result.hostname, result.status, result.value)
"""

from __future__ import annotations

import asyncio
import math
import time
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from towline.errors import InvalidConfiguration, TowlineError
from towline.operation import Operation

P = ParamSpec("P")
T = TypeVar("T", bound=msgspec.Struct)

UNFINISHED = ("pending", "running")
MARGIN = 15.0
"""Seconds that the HTTP request may take beyond the wait that it asks for."""
WAIT = 30.0
"""Seconds that a request waits for results unless told otherwise: asked for, not left to what the
controller is configured to, which may be longer than the request may take."""
POLL = 30
"""Seconds that one question for a job asks the controller to wait."""


class ApiError(TowlineError):
    """The API answered with an error.

    Attributes:
        status: the HTTP status, 0 where there was no answer.
        job_id: the job that failed, where there is one.
    """

    def __init__(self, error: str, details: str, status: int, job_id: str | None = None) -> None:
        super().__init__(error, details, job_id)
        self.status = status


class Result(msgspec.Struct, Generic[T], frozen=True):
    """What became of a job on one node.

    Attributes:
        status: ok, failed, skipped, pending, running, cancelled or expired.
        value: what the operation returned; None unless `status` is ok.
    """

    hostname: str
    status: str
    value: T | None = None
    error: str | None = None


class JobState(msgspec.Struct, Generic[T], frozen=True):
    """A job as it stood when it was asked for."""

    id: str
    results: list[Result[T]]

    @property
    def done(self) -> bool:
        """Whether every node has ended."""
        return all(result.status not in UNFINISHED for result in self.results)

    @property
    def succeeded(self) -> bool:
        """Whether every node ended well; a node that skipped the job did not."""
        return bool(self.results) and all(result.status == "ok" for result in self.results)


def _request(
    operation: Operation[..., Any], on: str, values: dict[str, Any], wait: float
) -> tuple[str, str, dict[str, Any]]:
    """Return method, path and the rest of a request, all but the connection."""
    try:
        parameters = operation.read(values)
    except (msgspec.ValidationError, ValueError) as error:
        raise ApiError(f"{operation.name}: a parameter is not valid.", str(error), 400) from error
    plain: dict[str, Any] = msgspec.to_builtins(parameters)
    path = operation.path
    for name in list(plain):
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", _segment(str(plain.pop(name))))
    prefer = f"wait={math.ceil(wait)}" if wait else "respond-async"
    rest: dict[str, Any] = {"headers": {"Prefer": prefer}, "timeout": wait + MARGIN}
    if operation.takes_body:
        rest["json"] = plain
    else:
        rest["params"] = plain
    return operation.method, f"/node/{_segment(on)}/{path}", rest


def _segment(text: str) -> str:
    """Return `text` as one segment of a path; dots alone would be taken for a step."""
    return quote(text, safe=":") if text.strip(".") else text.replace(".", "%2E")


class _Outcome(msgspec.Struct, frozen=True):
    """What every operation's result has."""

    hostname: str
    status: str
    error: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    id: str
    results: list[_Outcome]


def _state(operation: Operation[..., T], job_id: str, results: Any, status: int) -> JobState[T]:
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
        Result(outcome.hostname, outcome.status, value, outcome.error)
        for outcome, value in zip(answer.results, values, strict=True)
    ]
    return JobState(answer.id, read)


def _connection(url: str, token: str) -> dict[str, Any]:
    """Return what an HTTP client of the API is made with.

    Raises:
        InvalidConfiguration: `url` or `token` is not valid; neither is repeated.
    """
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL:
        base = httpx.URL()
    # A user name in it would take the place of the token.
    if base.scheme not in ("http", "https") or not base.host or base.userinfo:
        raise InvalidConfiguration(
            "The controller's URL is not valid.", "Write http://HOST:PORT, without a user name"
        )
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise InvalidConfiguration(
            "The token is not valid.", "It is one line of ASCII, as towline token create prints it"
        )
    return {"base_url": base, "headers": {"Authorization": f"Bearer {token}"}}


def _check(response: httpx.Response, expected: tuple[str, ...]) -> dict[str, Any]:
    """Return the body of a good answer with the fields expected; raise `ApiError` otherwise."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
    if not response.is_success:
        job_id = response.headers.get("location", "").removeprefix("/job/") or None
        error = str(body.get("error") or f"{response.status_code} from {response.url.host}")
        raise ApiError(error, str(body.get("details", "")), response.status_code, job_id)
    if any(name not in body for name in expected):
        where = response.url.copy_with(raw_path=b"/")
        raise ApiError(f"What answers at {where} is no controller.", "", response.status_code)
    return body


def _unreachable(url: str, error: httpx.HTTPError) -> ApiError:
    return ApiError(f"The controller at {url} does not answer.", str(error), 0)


class _Handle(Generic[P, T]):
    """What a job's handle knows, however it asks."""

    def __init__(self, operation: Operation[P, T], state: JobState[T]) -> None:
        self._operation = operation
        self.state = state

    @property
    def id(self) -> str:
        """The job's id."""
        return self.state.id

    @property
    def results(self) -> list[Result[T]]:
        """What is known of each node."""
        return self.state.results

    @property
    def done(self) -> bool:
        """Whether every node has ended."""
        return self.state.done

    @property
    def succeeded(self) -> bool:
        """Whether every node ended well."""
        return self.state.succeeded

    def _learn(self, body: dict[str, Any]) -> None:
        self.state = _state(self._operation, self.id, body["results"], 200)


class Job(_Handle[P, T]):
    """A job's handle; good for waiting further when a wait ran out."""

    def __init__(self, client: Client, operation: Operation[P, T], state: JobState[T]) -> None:
        super().__init__(operation, state)
        self._client = client

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until every node has ended, or `timeout` seconds are over; raises `ApiError`."""
        deadline = _deadline(timeout)
        while not self.done and (remaining := deadline - time.monotonic()) > 0:
            self._learn(self._client.job(self.id, wait=min(POLL, remaining)))
            if not self.done:
                time.sleep(_pause(deadline))
        return self


class AsyncJob(_Handle[P, T]):
    """A job's handle for asyncio."""

    def __init__(self, client: AsyncClient, operation: Operation[P, T], state: JobState[T]) -> None:
        super().__init__(operation, state)
        self._client = client

    async def wait(self, timeout: float | None = None) -> Self:
        """Wait until every node has ended, or `timeout` seconds are over; raises `ApiError`."""
        deadline = _deadline(timeout)
        while not self.done and (remaining := deadline - time.monotonic()) > 0:
            self._learn(await self._client.job(self.id, wait=min(POLL, remaining)))
            if not self.done:
                await asyncio.sleep(_pause(deadline))
        return self


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


def _pause(deadline: float) -> float:
    # The controller answers at once where only nodes that are away are missing.
    return min(1.0, max(0.0, deadline - time.monotonic()))


class Client:
    """The API of a controller.

    Args:
        url: for example `http://127.0.0.1:8080`.
        token: as `towline token create` prints it.

    Raises:
        InvalidConfiguration: `url` or `token` is not valid.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._http = httpx.Client(**_connection(url, token))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _ask(self, method: str, path: str, *expected: str, **rest: Any) -> dict[str, Any]:
        try:
            return _check(self._http.request(method, path, **rest), expected)
        except httpx.HTTPError as error:
            raise _unreachable(self._url, error) from error

    def run(
        self, operation: Operation[P, T], on: str, *args: P.args, **kwargs: P.kwargs
    ) -> Job[P, T]:
        """Run an operation and return its job, with the results within 30 seconds.

        Args:
            operation: for example `towline.operations.docker.pull`.
            on: the target: a hostname, `_any`, `_all` or `key:value`.
            kwargs: the operation's parameters.

        Raises:
            ApiError: the request was refused, or a single node failed.
        """
        return self.run_within(WAIT, operation, on, *args, **kwargs)

    def run_within(
        self,
        wait: float,
        operation: Operation[P, T],
        on: str,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Job[P, T]:
        """Run an operation, waiting up to `wait` seconds for its results."""
        method, path, rest = _request(operation, on, dict(kwargs), wait)
        body = self._ask(method, path, "job_id", "results", **rest)
        state = _state(operation, body["job_id"], body["results"], operation.success)
        return Job(self, operation, state)

    def job(self, job_id: str, *, wait: float = 0.0) -> dict[str, Any]:
        """Return `GET /job/{id}`, waiting up to `wait` seconds for its end; raises `ApiError`."""
        headers = {"Prefer": f"wait={math.ceil(wait)}"} if wait else {}
        path = f"/job/{_segment(job_id)}"
        return self._ask("GET", path, "id", "results", headers=headers, timeout=wait + MARGIN)

    def nodes(self) -> list[dict[str, Any]]:
        """Return the registered nodes (`GET /agent`); raises `ApiError`."""
        found: list[dict[str, Any]] = self._ask("GET", "/agent", "agents")["agents"]
        return found


class AsyncClient:
    """The API of a controller, for asyncio; as `Client` otherwise."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._http = httpx.AsyncClient(**_connection(url, token))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(self, method: str, path: str, *expected: str, **rest: Any) -> dict[str, Any]:
        try:
            return _check(await self._http.request(method, path, **rest), expected)
        except httpx.HTTPError as error:
            raise _unreachable(self._url, error) from error

    async def run(
        self, operation: Operation[P, T], on: str, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncJob[P, T]:
        """Run an operation and return its job, as `Client.run`."""
        return await self.run_within(WAIT, operation, on, *args, **kwargs)

    async def run_within(
        self,
        wait: float,
        operation: Operation[P, T],
        on: str,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncJob[P, T]:
        """Run an operation, waiting up to `wait` seconds for its results."""
        method, path, rest = _request(operation, on, dict(kwargs), wait)
        body = await self._ask(method, path, "job_id", "results", **rest)
        state = _state(operation, body["job_id"], body["results"], operation.success)
        return AsyncJob(self, operation, state)

    async def job(self, job_id: str, *, wait: float = 0.0) -> dict[str, Any]:
        """Return `GET /job/{id}`, waiting up to `wait` seconds for its end; raises `ApiError`."""
        headers = {"Prefer": f"wait={math.ceil(wait)}"} if wait else {}
        path = f"/job/{_segment(job_id)}"
        return await self._ask("GET", path, "id", "results", headers=headers, timeout=wait + MARGIN)

    async def nodes(self) -> list[dict[str, Any]]:
        """Return the registered nodes (`GET /agent`); raises `ApiError`."""
        found: list[dict[str, Any]] = (await self._ask("GET", "/agent", "agents"))["agents"]
        return found
