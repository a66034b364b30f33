"""What an operation is: one typed function, from which everything else is derived.

The decorator reads the function's signature. From it come the parameters that a request is
validated against, the HTTP route, the OpenAPI entry, the CLI command, the client's call and the
agent's dispatch. Adding an operation is writing that function.
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import (
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

from towline.signature import BODIES, PLACEHOLDER, camel, of_function
from towline.signature.commands import Commands, commands
from towline.signature.node import NODE as NODE
from towline.signature.node import Capability as Capability
from towline.signature.node import Node as Node
from towline.signature.preview import Preview
from towline.wire.fact_references import refers
from towline.wire.job import Job

P = ParamSpec("P")
T = TypeVar("T", bound=msgspec.Struct)
V = TypeVar("V", bound=msgspec.Struct)

CredentialFor: TypeAlias = Callable[[Mapping[str, Any]], str | None]
"""Returns the place that a credential is for, from the parameters of an operation by name; None
where only the node will know it, since they refer to its facts."""

LeadsFor: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Returns whether one node is to go first, from the parameters of an operation by name."""

RESERVED = frozenset(
    {"on", "operation", "wait", "output", "expires", "idempotency_key", "dry_run"}
    | {"max_parallel", "canary", "max_failures", "registry_user"}
)
"""Names that calls of the client, the CLI and the API have for the job itself."""

STATUS, OUTCOME = "status", "outcome"
"""What a node's status is called in its result; where the operation's own result has a `status`,
that of the node is the outcome."""

RESULT_RESERVED = frozenset({"hostname", "machine_id", OUTCOME, "error", "reason", "waits"})
"""Names that every node's result has beside what the operation returned."""

NODE_ROUTE = "/node/{hostname}"

_NAME = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z][a-z0-9_-]*){1,2}")
_VERB = re.compile(r"[a-z][a-z0-9_-]*")
_ROUTE = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE)(?: (?:[\w.-]+|{\w+})(?:/(?:[\w.-]+|{\w+}))*)?")
_PERMISSION = re.compile(r"[a-z][a-z0-9_-]*:[a-z]+")


class Effect(enum.Enum):
    """What running an operation does, and so what an agent that died half-way does with it."""

    READ = "read"
    """Changes nothing. Runs again after a restart; isn't kept for a node that is away."""
    CONVERGE = "converge"
    """The same end state however often it runs. Runs again; kept for a node that is away."""
    ONCE = "once"
    """Must not run twice: if it had started, it is reported failed, "interrupted"."""


class Operation(Generic[P, T]):
    """One thing that can be done to a node.

    Attributes:
        name: of two or three parts, for example `docker.pull.execute`.
        command: its words on the command line; None where a command of its own does better.
        label: the operation as people are shown it, for example `docker.pull`.
        method: the HTTP method.
        path: the route below `/node/{hostname}/`; "" for that itself.
        permission: what a token needs, for example `docker:write`.
        effect: see `Effect`.
        requires: the capability that a node must have; without it the node answers `skipped`.
        success: the HTTP status of an accepted request.
        errors: HTTP statuses of its own that a node may answer with.
        takes_credential: whether a request may bring a credential of its own.
        parameters: a struct type with the function's keyword parameters; unknown ones are refused.
        signature: where in a request each of them stands.
        result: the struct type that the function returns: one, or a list of rows.
        status: what a node's status is called in its result.
        preview: what nodes foresee of it in a dry run; None where they aren't asked.

    Raises:
        ValueError: name, route, permission or the function's signature can't be an operation's.
    """

    def __init__(
        self,
        function: Callable[Concatenate[Node, P], Awaitable[Any]],
        *,
        name: str,
        route: str,
        permission: str,
        effect: Effect,
        requires: str,
        success: int | None,
        verb: str | None = None,
        errors: Iterable[int] = (),
        credential_for: CredentialFor | None = None,
        leads: LeadsFor | None = None,
        command: str | None = "",
    ) -> None:
        self.function = function
        self.name = name
        self.domain, self.verb = [*name.split("."), ""][:2]
        self.verb = verb or self.verb
        self.label = f"{self.domain}.{self.verb}"
        self.command = f"{self.domain} {self.verb}" if command == "" else command
        self.method, _, self.path = route.partition(" ")
        self.permission = permission
        self.effect = effect
        self.requires = requires
        self.success = success or (200 if effect is Effect.READ else 202)
        self.errors = frozenset(errors)
        self.takes_credential = credential_for is not None
        self._credential_for = credential_for
        self._leads = leads
        documentation = inspect.getdoc(function) or name
        self.summary, _, self.description = documentation.partition("\n")
        self.description = self.description.strip()

        for text, form in (
            *((name, _NAME), (self.verb, _VERB)),
            *((route, _ROUTE), (permission, _PERMISSION)),
        ):
            if not form.fullmatch(text):
                raise ValueError(f"{name}: {text!r} does not match {form.pattern}")
        hints = get_type_hints(function, include_extras=True, localns=_forward_names())
        self.result: type[T] = _result(name, function, hints)
        own = STATUS in self.result.__struct_encode_fields__
        self.status = OUTCOME if own else STATUS
        if "hostname" in PLACEHOLDER.findall(self.path):
            raise ValueError(f"{name}: {{hostname}} stands in the route twice")
        self.signature = of_function(
            self.label,
            function,
            hints,
            path=self.path,
            has_body=self.method in BODIES,
            reserved=RESERVED,
            referring=True,
        )
        self.parameters: type[msgspec.Struct] = self.signature.struct(None)
        self.preview: Preview | None = None

    def __call__(self, node: Node, *args: P.args, **kwargs: P.kwargs) -> Awaitable[Any]:
        """Run the body on `node`, as a plain function call."""
        return self.function(node, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    @property
    def route(self) -> str:
        """The path of the HTTP route, with its placeholders in braces."""
        return f"{NODE_ROUTE}/{self.path}" if self.path else NODE_ROUTE

    def credential_for(self, parameters: Mapping[str, Any]) -> str | None:
        """Return the place that the node logs in to for these parameters, or None for none.

        Args:
            parameters: as `read` has validated them.
        """
        return None if self._credential_for is None else self._credential_for(parameters)

    def leads_for(self, parameters: Mapping[str, Any]) -> bool:
        """Return whether one node is to go first, and find what all others are given.

        Args:
            parameters: as `read` has validated them.
        """
        # What each node resolves for itself no other can find for it.
        return self._leads is not None and not refers(parameters) and self._leads(parameters)

    def previewed(
        self, *, finds: str | None = None
    ) -> Callable[[Callable[..., Awaitable[V]]], Callable[..., Awaitable[V]]]:
        """Make a function what nodes answer in a dry run; it must change nothing.

        Args:
            finds: see `Preview`.

        Example:
            @pull.previewed(finds="digest")
            async def preview(node: Node, *, image: str) -> PullPlan: ...
        """

        def decorate(function: Callable[..., Awaitable[V]]) -> Callable[..., Awaitable[V]]:
            hints = get_type_hints(function, localns=_forward_names())
            result: type[V] = _result(self.name, function, hints)
            self.preview = Preview(
                *(self.name, function, result, finds),
                parameters=self.parameters,
                read=self.read,
                requires=self.requires,
                credential_for=self.credential_for,
                effect=Effect.READ,
            )
            return function

        return decorate

    def read(
        self, values: object, *, strict: bool = True, resolved: bool = False
    ) -> msgspec.Struct:
        """Validate `values`, a mapping, as this operation's parameters.

        Args:
            values: parameter names and values, as decoded JSON or from a query string.
            strict: whether `"20"` is refused where a number is due; off for query strings.
            resolved: whether references to facts stand for what they are by now; others may be any
                text.

        Raises:
            ValueError: a value is missing, unknown, or not valid; the text names it.
        """
        return self.signature.convert(None, values, strict=strict, resolved=resolved)


def _result(name: str, function: Callable[..., Any], hints: dict[str, Any]) -> Any:
    """Return the struct type of which the function returns one, or a list."""
    if not inspect.iscoroutinefunction(function):
        raise ValueError(f"{name}: the function has to be async")
    result = hints.get("return")
    if get_origin(result) is list:
        (result,) = get_args(result)
    if not (isinstance(result, type) and issubclass(result, msgspec.Struct)):
        raise ValueError(f"{name}: the function has to return a msgspec.Struct or a list of one")
    for field in result.__struct_encode_fields__:
        if field in RESULT_RESERVED:
            raise ValueError(f"{name}: {field!r} is every result's, not an operation's")
    return result


def _identity(operation: Operation[..., Any]) -> set[str]:
    """Return what no other operation may share: the name, the command as the API's description
    writes it, and the route whatever its placeholders are called."""
    route = f"{operation.method} {PLACEHOLDER.sub('{}', operation.path)}"
    return {operation.name, camel(operation.label), route}


def _forward_names() -> dict[str, Any]:
    # Modules may import `Node` for type checkers alone.
    return {"Node": Node}


AnyOperation: TypeAlias = Operation[..., Any]
"""An operation, whatever its parameters and its result."""


class Catalog:
    """All operations there are, by name.

    Args:
        commands: those that there are already; what is added has its own among them.
    """

    def __init__(self, commands: Commands | None = None) -> None:
        self._operations: dict[str, Operation[..., Any]] = {}
        self._commands = commands or Commands()

    def add(self, operation: Operation[..., Any]) -> None:
        """Add an operation; one of the same name, command or route is a programming error."""
        if operation.command is not None:
            self._commands.add(operation.command, operation)
        for other in self._operations.values():
            if _identity(other) & _identity(operation):
                self._forget(operation)
                raise ValueError(
                    f"{operation!r} clashes with {other!r}: give one of them another name or route"
                )
        self._operations[operation.name] = operation

    def remove(self, name: str) -> None:
        """Take an operation out again."""
        self._forget(self._operations.pop(name))

    def _forget(self, operation: Operation[..., Any]) -> None:
        if operation.command is not None:
            self._commands.remove(operation.command)

    def get(self, name: str) -> Operation[..., Any] | None:
        """Return the operation of a name or a label, or None where this version has none."""
        found = self._operations.get(name)
        return found or next((each for each in self if each.label == name), None)

    def task(self, name: str) -> Operation[..., Any] | Preview | None:
        """Return what a node does for a job of this name: an operation, or the preview of one."""
        found = self._operations.get(name.removesuffix(".preview"))
        return self.get(name) or (None if found is None else found.preview)

    def __iter__(self) -> Iterator[Operation[..., Any]]:
        return iter(sorted(self._operations.values(), key=lambda operation: operation.name))

    def credential_for(self, job: Job) -> str | None:
        """Return the place that a job's nodes log in to, or None for none.

        Raises:
            ValueError: its parameters can't be read; another version may have made it.
        """
        found = self.task(job.operation)
        try:
            return None if found is None else found.credential_for(job.parameters)
        except (KeyError, TypeError) as error:
            raise ValueError(f"the parameters of job {job.id} can't be read: {error}") from error

    def capabilities(self) -> set[str]:
        """Return what the operations require of nodes, all together."""
        return {NODE} | {operation.requires for operation in self._operations.values()}


catalog = Catalog(commands)
"""The one global: every decorated function puts itself here."""


class Decorator(Protocol):
    """Makes a function an operation; one that returns a list has a result for each entry."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Node, P], Awaitable[list[T]]]
    ) -> Operation[P, T]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Node, P], Awaitable[T]]
    ) -> Operation[P, T]: ...


def operation(
    name: str,
    route: str,
    *,
    permission: str,
    effect: Effect,
    requires: str | Capability[Any] = NODE,
    success: int | None = None,
    verb: str | None = None,
    errors: Iterable[int] = (),
    credential_for: CredentialFor | None = None,
    leads: LeadsFor | None = None,
    command: str | None = "",
) -> Decorator:
    """Make an async function an operation.

    Args:
        name: the type of its jobs, `domain.subject.verb`; `towline domain subject` is the command.
            Two parts are enough.
        route: method and path below `/node/{hostname}/`, for example `"GET load"`; the method alone
            for that itself.
        permission: what a token needs, for example `node:read`.
        effect: see `Effect`.
        requires: a capability that not every node has.
        success: the HTTP status of an accepted request; 200 for reads and 202 otherwise.
        verb: what the command is called, where the second part of the name belongs to another.
        errors: HTTP statuses that its `TaskFailed` name, for the API's description.
        credential_for: returns for the validated parameters, by name, the place that the node logs
            in to: the node gets the credential that is kept for it, and a request may bring its
            own (`X-Registry-Auth`).
        leads: returns for the validated parameters, by name, whether of several nodes one is to go
            first and find what all others are given; what that is only the body knows.
        command: its one or two words on the command line, unless given domain and verb; None where
            a command of its own does better.

    Example:
        @operation("node.load.get", "GET load", permission="node:read", effect=Effect.READ)
        async def load(node: Node) -> Load: ...
    """

    def decorate(function: Callable[Concatenate[Node, P], Awaitable[Any]]) -> Operation[P, Any]:
        made: Operation[P, Any] = Operation(
            function,
            name=name,
            route=route,
            permission=permission,
            effect=effect,
            requires=requires.name if isinstance(requires, Capability) else requires,
            success=success,
            verb=verb,
            errors=errors,
            credential_for=credential_for,
            leads=leads,
            command=command,
        )
        catalog.add(made)
        return made

    return decorate
