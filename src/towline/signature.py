"""A function's keyword parameters, read as those of a request.

Operations and endpoints are typed functions. What their requests may bring, and in which place of a
request each parameter stands, is read here from the signature, once.
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from towline.wire.fact_references import refers, relaxed

PLACEHOLDER = re.compile(r"{(\w+)}")
BODIES = ("POST", "PUT", "PATCH")
"""Methods whose parameters stand in the body unless they say otherwise."""


class Place(enum.Enum):
    """Where in a request a parameter stands."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"
    BODY = "body"
    PART = "part"
    """A file among the parts of a body that is `multipart/form-data`."""


class Check:
    """Marks a parameter's type with a rule that msgspec has no word for.

    Args:
        rule: called with the value; raises `ValueError` whose text names the value and the mend.
    """

    def __init__(self, rule: Callable[[Any], object]) -> None:
        self.rule = rule


class Query:
    """Marks a parameter that stands in the query although the method takes a body."""


class Body:
    """Marks a parameter that stands in a JSON body although the method has none by itself."""


class Header:
    """Marks a parameter that stands in a header.

    Args:
        name: the header's.
        read: makes its lines the value; raises `ValueError`.
        write: makes a value the header's text.
        schema: the text by JSON Schema.
    """

    def __init__(
        self,
        name: str,
        *,
        read: Callable[[list[str]], Any],
        write: Callable[[Any], str] = str,
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.read = read
        self.write = write
        self.schema = schema or {"type": "string"}


class Flag:
    """Says how a parameter looks on the command line.

    Args:
        metavar: what stands for its value in the help.
        hidden: whether it has no option of its own there.
    """

    def __init__(self, metavar: str | None = None, *, hidden: bool = False) -> None:
        self.metavar = metavar
        self.hidden = hidden


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The base of parameters that several functions share: a group, as one keyword parameter."""


class Upload(msgspec.Struct):
    """A file that a request brings.

    Attributes:
        filename: as the sender calls it.
        content: its bytes, all of them.
    """

    filename: str
    content: bytes


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a request.

    Attributes:
        hint: its type, with all that `Annotated` adds to it.
        default: `msgspec.NODEFAULT` where it has to be given.
        group: the keyword parameter whose struct it is a field of; None for one of its own.
    """

    name: str
    hint: Any
    default: Any
    place: Place
    group: str | None = None

    @property
    def required(self) -> bool:
        """Whether a request without it can't be valid."""
        return self.default is msgspec.NODEFAULT

    @property
    def extras(self) -> list[Any]:
        """All that `Annotated` adds to its type, outside and inside of an optional one."""
        return _extras(self.hint)

    @property
    def header(self) -> Header:
        """The header that it stands in."""
        return next(extra for extra in self.extras if isinstance(extra, Header))

    @property
    def description(self) -> str | None:
        """What it means, for people; None where nothing says it."""
        metas = (extra for extra in self.extras if isinstance(extra, msgspec.Meta))
        return next((meta.description for meta in metas if meta.description), None)


class Signature:
    """The parameters of a function by where they stand in a request.

    Args:
        name: whose they are, for the text of errors.
        path: the route's, with its placeholders in braces.
        groups: the struct type of each group, by its keyword parameter.
        has_body: whether requests may have a body, be it without any parameter.
        referring: whether texts may refer to facts of a node, which are not known here.

    Attributes:
        needs_body: whether a request without a body can't be valid.
        takes_file: whether the body is `multipart/form-data`.

    Raises:
        ValueError: a placeholder is no required parameter, or stands in the path twice.
    """

    def __init__(
        self,
        name: str,
        path: str,
        parameters: Iterable[Parameter],
        groups: Mapping[str, type[Options]],
        *,
        has_body: bool,
        referring: bool = False,
    ) -> None:
        self.name = name
        self.parameters = list(parameters)
        self.groups = dict(groups)
        self._placeholders(path)
        self.checks = {
            parameter.name: checks
            for parameter in self.parameters
            if (checks := _checks(parameter.hint))
        }
        self._referring = referring
        self._structs = {place: self._struct(place) for place in (*Place, None)}
        self.has_body = has_body or bool(self.at(Place.BODY))
        self.takes_file = bool(self.at(Place.PART))
        self.needs_body = any(
            parameter.required for parameter in (*self.at(Place.BODY), *self.at(Place.PART))
        )

    def _placeholders(self, path: str) -> None:
        placeholders = PLACEHOLDER.findall(path)
        required = {parameter.name for parameter in self.parameters if parameter.required}
        for placeholder in placeholders:
            if placeholders.count(placeholder) > 1:
                raise ValueError(f"{self.name}: {{{placeholder}}} stands in the route twice")
            if placeholder not in required:
                raise ValueError(
                    f"{self.name}: {{{placeholder}}} in the path is no required parameter"
                )

    def _struct(self, place: Place | None, refer: Collection[str] = ()) -> type[msgspec.Struct]:
        """Return a struct type of the parameters in a place, or of all; those that `refer` take any
        text."""
        parameters = self.parameters if place is None else self.at(place)
        fields = [
            (parameter.name, hint)
            if parameter.required
            else (parameter.name, hint, parameter.default)
            for parameter in parameters
            for hint in [relaxed(parameter.hint) if parameter.name in refer else parameter.hint]
        ]
        return msgspec.defstruct(
            f"{camel(self.name)}{'Parameters' if place is None else place.value.capitalize()}",
            fields,
            frozen=True,
            kw_only=True,
            forbid_unknown_fields=True,
            omit_defaults=True,
        )

    def at(self, place: Place) -> list[Parameter]:
        """Return the parameters that stand in a place, in the order of the function's."""
        return [parameter for parameter in self.parameters if parameter.place is place]

    def names(self, place: Place) -> list[str]:
        """Return the names of the parameters that stand in a place."""
        return [parameter.name for parameter in self.at(place)]

    def struct(self, place: Place | None) -> type[msgspec.Struct]:
        """Return a struct type of the parameters that stand in a place; unknown ones are refused.

        Args:
            place: None for all parameters, wherever they stand.

        The type is called after the function: `DockerPullBody`.
        """
        return self._structs[place]

    def read(self, place: Place, values: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
        """Return the values of the parameters that stand in a place, those left out included.

        Args:
            strict: whether `"20"` is refused where a number is due.

        Raises:
            ValueError: a value is missing, unknown or not valid; the text names it.
        """
        return msgspec.structs.asdict(self.convert(place, values, strict=strict))

    def convert(
        self, place: Place | None, values: object, *, strict: bool, resolved: bool = False
    ) -> msgspec.Struct:
        """Return values, a mapping, as a struct of the parameters that stand in a place.

        A value that refers to facts may be any text: the node that knows them looks at it again.

        Args:
            place: None for all parameters, wherever they stand.
            strict: as for `read`.
            resolved: whether what looks like a reference is none any more.

        Raises:
            ValueError: as for `read`.
        """
        kind, refer = self._structs[place], set()
        if self._referring and not resolved and isinstance(values, Mapping):
            refer = {name for name, value in values.items() if refers(value)}
            kind = self._struct(place, refer) if refer else kind
        read = msgspec.convert(values, kind, strict=strict)
        checks = {name: rules for name, rules in self.checks.items() if name not in refer}
        check(checks, msgspec.structs.asdict(read))
        return read

    def arguments(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the function's keyword arguments: values of a group become its struct."""
        found: dict[str, dict[str, Any]] = {group: {} for group in self.groups}
        plain: dict[str, Any] = {}
        for parameter in self.parameters:
            into = plain if parameter.group is None else found[parameter.group]
            if parameter.name in values:
                into[parameter.name] = values[parameter.name]
        return plain | {group: self.groups[group](**given) for group, given in found.items()}


def check(checks: Mapping[str, list[Check]], values: Mapping[str, Any]) -> None:
    """Check values that have the right types.

    Raises:
        ValueError: one breaks a rule; the text names it.
    """
    for name, rules in checks.items():
        value = values.get(name)
        if value is None:
            continue
        try:
            for each in rules:
                each.rule(value)
        except ValueError as error:
            raise ValueError(f"`{name}`: {error}") from error


def of_function(
    name: str,
    function: Callable[..., Any],
    hints: Mapping[str, Any],
    *,
    path: str,
    has_body: bool,
    reserved: Iterable[str] = (),
    referring: bool = False,
) -> Signature:
    """Return the signature of a function, whose first parameter is none of a request's.

    Args:
        hints: the types of its parameters, as `typing.get_type_hints` returns them.
        path: the route's, with its placeholders in braces.
        has_body: whether parameters stand in the body unless they say otherwise.
        reserved: names that no parameter may have.
        referring: see `Signature`.

    Raises:
        ValueError: the function can't be asked for by a request; the text says why.
    """
    placeholders = PLACEHOLDER.findall(path)
    groups: dict[str, type[Options]] = {}
    found: list[Parameter] = []
    for parameter in _keywords(name, function):
        if parameter.name in reserved:
            raise ValueError(f"{name}: {parameter.name!r} is a job's, not an operation's")
        if parameter.name not in hints:
            raise ValueError(f"{name}: the parameter {parameter.name!r} has no type")
        hint = hints[parameter.name]
        if isinstance(hint, type) and issubclass(hint, Options):
            groups[parameter.name] = hint
            found += _of_group(parameter.name, hint)
            continue
        default = parameter.default
        if default is inspect.Parameter.empty:
            default = msgspec.NODEFAULT
        place = Place.PATH if parameter.name in placeholders else _place(hint, has_body=has_body)
        found.append(Parameter(parameter.name, hint, default, place))
    return Signature(name, path, found, groups, has_body=has_body, referring=referring)


def _of_group(group: str, kind: type[Options]) -> list[Parameter]:
    """Return the fields of a group as parameters; unless they say otherwise, in the query."""
    return [
        Parameter(field.name, field.type, field.default, _place(field.type, has_body=False), group)
        for field in msgspec.structs.fields(kind)
    ]


def _place(hint: Any, *, has_body: bool) -> Place:
    if Upload in (hint, *get_args(hint)):
        return Place.PART
    extras = _extras(hint)
    if any(isinstance(extra, Header) for extra in extras):
        return Place.HEADER
    if any(isinstance(extra, Query) or extra is Query for extra in extras):
        return Place.QUERY
    if any(isinstance(extra, Body) or extra is Body for extra in extras):
        return Place.BODY
    return Place.BODY if has_body else Place.QUERY


def _keywords(name: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the function's parameters but the first."""
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
        raise ValueError(f"{name}: the first parameter is the node, or the context of a request")
    rest = parameters[1:]
    for parameter in rest:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise ValueError(f"{name}: the parameter {parameter.name!r} has to stand after a '*'")
    return rest


def _extras(hint: Any) -> list[Any]:
    own = list(getattr(hint, "__metadata__", ()))
    if own:
        return [*_extras(hint.__origin__), *own]
    if get_origin(hint) in (Union, UnionType):
        return [extra for part in get_args(hint) for extra in _extras(part)]
    return own


def _checks(hint: Any) -> list[Check]:
    """Return the rules on a parameter's type, an optional one's too."""
    if hasattr(hint, "__metadata__"):
        own = [extra for extra in hint.__metadata__ if isinstance(extra, Check)]
        return _checks(hint.__origin__) + own
    inner = [part for part in get_args(hint) if part is not NoneType]
    found = [each for part in inner for each in _checks(part)]
    if found and (get_origin(hint) not in (Union, UnionType) or len(inner) > 1):
        raise ValueError(f"a Check inside {hint} would not be seen, put it on the whole parameter")
    return found


def camel(name: str) -> str:
    """Return a name such as `docker.pull` as the API's description writes it: `DockerPull`."""
    return "".join(
        part.capitalize() for part in name.replace("-", "_").replace("_", ".").split(".")
    )
