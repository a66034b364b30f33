"""What an endpoint is: one typed function that the API offers, from which all else is derived.

The decorator reads the function's signature. From it come the route and what its requests are
validated against, the API's description, the client's call and a command. What runs on nodes is an
operation; what a controller answers by itself is an endpoint. Adding one is writing the function.

Clients and the command line import endpoints too: their bodies name the parts of a controller, but
import nothing of them.
"""

from __future__ import annotations

import functools
import inspect
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

import msgspec

from towline.options import Preference
from towline.signature import BODIES, Place, Signature, of_function
from towline.signature.commands import Commands, commands

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from towline.controller.auth import Caller
    from towline.controller.controller import Controller

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")

NAME = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z][a-z0-9_-]*){1,2}")
PERMISSION = re.compile(r"[a-z][a-z0-9_-]*:[a-z]+")
_ROUTE = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE) (?:/(?:[\w.-]+|{\w+}))+")
_TRACE = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"(?P<more>-[!-~]{0,200})?"
)
"""W3C Trace Context, "traceparent Header Field Values"; only versions after 00 may say more."""


EVENT_STREAM = "text/event-stream"
LAST = "end"
"""The kind of a stream's last event; also what a stream ends with that has none of that kind."""


class Event(msgspec.Struct, Generic[T], frozen=True):
    """One event of a stream.

    Attributes:
        data: what it says.
        id: its place in the stream: with it as `Last-Event-ID` a stream goes on behind it.
        kind: what happened, for example `completed`; "" for a stream of one kind.
    """

    data: T
    id: str = ""
    kind: str = ""


def encoded(event: Event[Any]) -> bytes:
    """Return an event as it is sent (HTML Living Standard, section 9.2)."""
    lines = b""
    if event.id:
        lines += b"id: %b\n" % event.id.encode()
    if event.kind:
        lines += b"event: %b\n" % event.kind.encode()
    return b"%bdata: %b\n\n" % (lines, msgspec.json.encode(event.data))


class NothingMore(Exception):
    """A stream has ended, and whoever asks has all of it: the answer is 204.

    A browser that had received the end of a stream would otherwise come back for ever.
    """


def traceparent(headers: Headers) -> str:
    """Return a request's `traceparent`, or a new one where there is none that is valid.

    Source: W3C Trace Context, "A traceparent is Received": what can't be read, or stands there
    twice, is as good as none.
    """
    found = headers.getlist("traceparent")
    valid = _TRACE.fullmatch(found[0]) if len(found) == 1 else None
    if valid is None or (valid["version"] == "00" and valid["more"] is not None):
        return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
    return found[0]


class Context:
    """A request, as the body of an endpoint sees it.

    Attributes:
        controller: the parts of the controller that answers.
        caller: who asks. An endpoint that is open to everybody has none: reading it is an error.
        headers: those of the request.
        status: the status of the answer; None for the first of the endpoint's.
        location: where what was made is to be found; None where nothing was.
        etag: what tells the answer from earlier and later ones; None for nothing.
        job: the id of the job that the request is about, for the log.
        looks: whether nothing was changed although the method says so, and nothing was to be.
    """

    def __init__(self, controller: Controller, caller: Caller | None, headers: Headers) -> None:
        self.controller = controller
        self.headers = headers
        self.status: int | None = None
        self.location: str | None = None
        self.etag: str | None = None
        self.job: str | None = None
        self.looks = False
        self.applied = ""
        self._caller = caller

    @property
    def caller(self) -> Caller:
        """Who asks."""
        if self._caller is None:
            raise LookupError("this endpoint is open: nobody was asked for a token")
        return self._caller

    @functools.cached_property
    def trace(self) -> str:
        """The request's `traceparent`, or a new one where there is none that is valid."""
        return traceparent(self.headers)

    def wait(self, asked: float | None, *, usual: float | None = None) -> float:
        """Return how many seconds the request waits; the answer says what of `Prefer` applies.

        Args:
            asked: what the request asks for, `Waiting.wait`.
            usual: seconds where it asks for nothing; None for what the controller is configured
                to.
        """
        waits = self.controller.waits
        if asked is None:
            return waits.usual if usual is None else usual
        wait = min(asked, waits.longest)
        self.applied = Preference(self.headers.getlist("prefer")).applied(wait)
        return wait

    def about(self, job: str) -> None:
        """Say which job the answer is about: its place is in the answer and in the log."""
        self.job = job
        self.location = f"/job/{job}"


class Endpoint(Generic[P, R]):
    """One thing that a controller can be asked.

    Attributes:
        name: `domain.verb`, for example `agent.drain`.
        label: what people are shown of its name.
        method: the HTTP method.
        path: the route, with its placeholders in braces.
        permission: what a token needs; None where none is needed.
        open: whether no token is needed.
        narrows: whether the function sees to it that a permission which is narrowed is not
            exceeded; where it doesn't, only one that isn't narrowed will do.
        owned: whether whoever made the job that is asked about needs no permission: the function
            sees to it that others have it.
        signature: its parameters, and where in a request each of them stands.
        result: the type of the answer; None for an answer without a body.
        success: the statuses of answers that are no errors, the usual one first.
        errors: the statuses of those that are, beside those that each endpoint may have.
        once: for a stream, the function whose answer those get who ask for JSON.
        once_result: the type of that answer.
        command: its words on the command line; None where a command of its own does better.
        typed: the words of that one, where there is one.
        needs: what a token needs, for people; "" where none is.
        locates: whether answers say in `Location` where what was made is to be found.
        tagged: whether they say in `ETag` what tells them from earlier and later ones.
        either: groups of parameters of the body, of which one has to be given.
        dry_run: the type of the answer, with status 200, to whoever asks for a dry run; None where
            there is none.

    Args:
        documentation: a line that sums it up, and what else is to be said.

    Raises:
        ValueError: it has no permission, and isn't open either; or both.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signature: Signature,
        result: Any,
        *,
        name: str,
        route: str,
        documentation: str,
        permission: str | None = None,
        open: bool = False,
        narrows: bool = False,
        owned: bool = False,
        success: tuple[int, ...] = (),
        errors: tuple[int, ...] = (),
        once: Callable[..., Any] | None = None,
        command: str | None = None,
        typed: str | None = None,
        needs: str = "",
        locates: bool = False,
        tagged: bool = False,
        label: str = "",
        either: tuple[tuple[str, ...], ...] = (),
        dry_run: Any = None,
    ) -> None:
        if open is (permission is not None):
            raise ValueError(f"{name}: it has a permission, or is open to everybody: say which")
        self.function = function
        self.signature = signature
        self.result = result
        self.name = name
        self.domain, self.verb = name.split(".")[:2]
        self.label = label or f"{self.domain}.{self.verb}"
        self.method, _, self.path = route.partition(" ")
        self.permission = permission
        self.open = open
        self.narrows = narrows
        self.owned = owned
        self.success = success or ((204,) if result is None else (200,))
        self.errors = errors
        self.once = once
        self.once_result = None if once is None else get_type_hints(once)["return"]
        self.command = command
        self.typed = command or typed
        self.needs = needs or (f"`{permission}`" if permission else "")
        self.locates = locates
        self.tagged = tagged
        self.either = either
        self.dry_run = dry_run
        self.summary, _, description = documentation.partition("\n")
        self.description = description.strip()

    def __repr__(self) -> str:
        return f"<endpoint {self.name}>"


class Stream(Endpoint[P, R]):
    """An endpoint that answers with events, one after another; `result` is the type of their data.

    It says that there is nothing to come by raising `NothingMore` before its first event.
    """


AnyEndpoint: TypeAlias = Endpoint[..., Any]
"""An endpoint, whatever its parameters and its answer."""


def _result(name: str, function: Callable[..., Any], hints: dict[str, Any]) -> tuple[Any, bool]:
    """Return the type of what a function answers, and whether it streams events of that."""
    if "return" not in hints:
        raise ValueError(f"{name}: the function has to say what it returns")
    result = hints["return"]
    generates = inspect.isasyncgenfunction(function)
    if generates or get_origin(result) is AsyncIterator:
        event = next(iter(get_args(result)), None)
        if get_origin(event) is not Event:
            raise ValueError(f"{name}: the function has to return an AsyncIterator[Event[…]]")
        return get_args(event)[0], True
    if not inspect.iscoroutinefunction(function):
        raise ValueError(f"{name}: the function has to be async")
    return (None if result is type(None) else result), False


class Endpoints:
    """All endpoints there are, by name.

    Args:
        commands: those that there are already; what is added has its own among them.
    """

    def __init__(self, commands: Commands | None = None) -> None:
        self._endpoints: dict[str, AnyEndpoint] = {}
        self._commands = commands or Commands()

    def add(self, endpoint: AnyEndpoint) -> None:
        """Add an endpoint; one of the same name or command is a programming error."""
        if endpoint.name in self._endpoints:
            raise ValueError(f"{endpoint!r} stands there twice")
        if endpoint.command is not None:
            self._commands.add(endpoint.command, endpoint)
        self._endpoints[endpoint.name] = endpoint

    def remove(self, name: str) -> None:
        """Take an endpoint out again."""
        removed = self._endpoints.pop(name)
        if removed.command is not None:
            self._commands.remove(removed.command)

    def __iter__(self) -> Iterator[AnyEndpoint]:
        return iter(sorted(self._endpoints.values(), key=lambda endpoint: endpoint.name))


endpoints = Endpoints(commands)
"""The one global: every decorated function puts itself here."""


class _Decorator(Protocol):
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], AsyncIterator[Event[R]]]
    ) -> Stream[P, R]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], Awaitable[AsyncIterator[Event[R]]]]
    ) -> Stream[P, R]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], Awaitable[R]]
    ) -> Endpoint[P, R]: ...


def endpoint(
    name: str,
    route: str,
    *,
    permission: str | None = None,
    open: bool = False,
    narrows: bool = False,
    owned: bool = False,
    success: tuple[int, ...] = (),
    errors: tuple[int, ...] = (),
    once: Callable[..., Any] | None = None,
    command: str | None = "",
    typed: str | None = None,
    needs: str = "",
    locates: bool = False,
    tagged: bool = False,
    either: tuple[tuple[str, ...], ...] = (),
    dry_run: Any = None,
) -> _Decorator:
    """Make a function an endpoint.

    Args:
        name: `domain.verb`.
        route: method and path, for example `"POST /agent/{hostname}/drain"`.
        permission: what a token needs; it has to be given, but for an endpoint that is open.
        open: whether no token is needed.
        narrows: whether the function sees to it that a permission which is narrowed is not
            exceeded; unless it does, only one that isn't narrowed will do.
        owned: whether whoever made the job that is asked about needs no permission: the function
            sees to it that others have it.
        success: the statuses of answers that are no errors, the usual one first; unless given, 200,
            or 204 for one without a body.
        errors: the statuses of answers that are, beside those that each endpoint may have.
        once: for a stream, the function whose answer those get who ask for JSON.
        command: its one or two words on the command line, unless given the first two of its name;
            None where a command of its own does better.
        typed: the words of that one, which is written by hand.
        needs: what a token needs, for people, where that isn't one permission.
        locates: whether answers say in `Location` where what was made is to be found.
        tagged: whether they say in `ETag` what tells them from earlier and later ones.
        either: parameters of the body of which one of these groups has to be given: the function
            sees to it, the API's description says it.
        dry_run: the type that the function returns where it is asked with `dry_run`, beside that of
            its answer.

    Raises:
        ValueError: name, route, permission or the function's signature can't be an endpoint's.

    Example:
        @endpoint("greet.hello", "GET /greet/{name}", permission="node:read")
        async def hello(context: Context, *, name: str, loud: bool = False) -> Greeting: ...
    """

    for text, form in ((name, NAME), (route, _ROUTE), (permission, PERMISSION)):
        if text is not None and not form.fullmatch(text):
            raise ValueError(f"{name}: {text!r} does not match {form.pattern}")

    def decorate(function: Callable[..., Any]) -> Any:
        hints = get_type_hints(function, include_extras=True)
        result, streams = _result(name, function, hints)
        if dry_run is not None:
            (result,) = (kind for kind in get_args(result) if kind is not dry_run)
        method, _, path = route.partition(" ")
        kind: type[AnyEndpoint] = Stream if streams else Endpoint
        signature = of_function(name, function, hints, path=path, has_body=method in BODIES)
        # Where no parameter stands in a body, none is read.
        signature.has_body = bool(signature.at(Place.BODY)) or signature.takes_file
        signature.needs_body = signature.needs_body or bool(either)
        made = kind(
            function,
            signature,
            result,
            name=name,
            route=route,
            documentation=inspect.getdoc(function) or name,
            permission=permission,
            open=open,
            narrows=narrows,
            owned=owned,
            success=success,
            errors=errors,
            once=once,
            command=" ".join(name.split(".")[:2]) if command == "" else command,
            typed=typed,
            needs=needs,
            locates=locates,
            tagged=tagged,
            either=either,
            dry_run=dry_run,
        )
        endpoints.add(made)
        return made

    return decorate
