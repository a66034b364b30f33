"""Signatures: the parameters of a function by where they stand in a request.

Operations and endpoints are typed functions. What their requests may bring, and in which place of a
request each parameter stands, is read here from the signature, once.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from towline.signature.markers import (
    Body,
    Check,
    Filled,
    Header,
    Options,
    Parameter,
    Place,
    Query,
    Upload,
    extras,
)
from towline.wire.fact_references import refers, relaxed

PLACEHOLDER = re.compile(r"{(\w+)}")
_WHOLE = re.compile("-?[0-9]+")
BODIES = ("POST", "PUT", "PATCH")
"""Methods whose parameters stand in the body unless they say otherwise."""


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
        self._structs: dict[Place | None, type[msgspec.Struct]] = {}
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
            else (parameter.name, *_optional(parameter, hint, everywhere=place is None))
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

    def within(
        self, path: str, before: list[Parameter], groups: Mapping[str, type[Options]]
    ) -> Signature:
        """Return the signature of a function that takes further parameters around these.

        Args:
            path: the route of that function, with its placeholders in braces.
        """
        further = [each for name, kind in groups.items() for each in of_group(name, kind)]
        parameters = [*before, *self.parameters, *further]
        return Signature(
            self.name,
            path,
            parameters,
            {**self.groups, **groups},
            has_body=self.has_body,
            referring=self._referring,
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
        if place not in self._structs:
            self._structs[place] = self._struct(place)
        return self._structs[place]

    def read(self, place: Place, values: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
        """Return the values of the parameters that stand in a place, those left out included.

        Args:
            strict: whether `"20"` is refused where a number is due.

        Raises:
            ValueError: a value is missing, unknown or not valid; the text names it.
        """
        read = msgspec.structs.asdict(self.convert(place, values, strict=strict))
        return {name: None if value is msgspec.UNSET else value for name, value in read.items()}

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
        kind, refer = self.struct(place), set[str]()
        if self._referring and not resolved and isinstance(values, Mapping):
            refer = {name for name, value in values.items() if refers(value)}
            kind = self._struct(place, refer) if refer else kind
        read = msgspec.convert(values, kind, strict=strict)
        if isinstance(values, Mapping):
            _check_numbers(values, read)
        checks = self.checks
        if refer:
            checks = {name: rules for name, rules in checks.items() if name not in refer}
        check(checks, msgspec.structs.asdict(read))
        return read

    def text(self, name: str, value: object) -> str | None:
        """Return a valid value of a parameter in the one way of writing what it means; None for one
        that is no text, number or truth."""
        for each in self.checks.get(name, ()):
            if each.canonical is not None:
                return each.canonical(each.rule(value))
        if isinstance(value, str):
            return value
        return msgspec.json.encode(value).decode() if isinstance(value, int | float) else None

    @property
    def is_filled(self) -> bool:
        """Whether a controller adds what it knows to a parameter; see `Filled`."""
        return any(isinstance(mark, Filled) for each in self.parameters for mark in each.extras)

    def filled(
        self, values: Mapping[str, Any], known: Mapping[str, Callable[[], Iterable[str]]]
    ) -> dict[str, Any]:
        """Return values with what a controller knows added to the parameters marked as `Filled`.

        Args:
            known: returns it, by the name in that mark; what has no name here has nothing to add.
        """
        found = dict(values)
        for parameter in self.parameters:
            for mark in (each for each in parameter.extras if isinstance(each, Filled)):
                more = known[mark.by]() if mark.by in known else ()
                texts = sorted({*found.get(parameter.name, ()), *more})
                if texts:
                    found[parameter.name] = texts
        return found

    def check(self, values: Mapping[str, Any]) -> None:
        """Check values before they are sent, wherever in the request they stand.

        Raises:
            ValueError: a value is missing, unknown or not valid; the text names it.
        """
        self.convert(None, values, strict=True)

    def arguments(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the function's keyword arguments: values of a group become its struct."""
        found: dict[str, dict[str, Any]] = {group: {} for group in self.groups}
        plain: dict[str, Any] = {}
        for parameter in self.parameters:
            into = plain if parameter.group is None else found[parameter.group]
            if parameter.name in values:
                into[parameter.name] = values[parameter.name]
        return plain | {group: self.groups[group](**given) for group, given in found.items()}


def _check_numbers(given: Mapping[str, Any], read: msgspec.Struct) -> None:
    """Refuse what JSON has no number for, and texts that msgspec takes for whole numbers.

    Raises:
        ValueError: a value is one of these; the text names it.
    """
    for name, sent in given.items():
        value = getattr(read, name, None)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"`{name}`: {sent} is no number")
        if type(value) is int and isinstance(sent, str) and not _WHOLE.fullmatch(sent):
            raise ValueError(f"`{name}`: {sent!r} is no whole number")


def check(checks: Mapping[str, list[Check]], values: Mapping[str, Any]) -> None:
    """Check values that have the right types.

    Raises:
        ValueError: one breaks a rule; the text names it.
    """
    for name, rules in checks.items():
        value = values.get(name)
        if value in (None, msgspec.UNSET):
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
            found += of_group(parameter.name, hint)
            continue
        default = parameter.default
        if default is inspect.Parameter.empty:
            default = msgspec.NODEFAULT
        place = Place.PATH if parameter.name in placeholders else _place(hint, has_body=has_body)
        found.append(Parameter(parameter.name, hint, default, place))
    return Signature(name, path, found, groups, has_body=has_body, referring=referring)


def of_group(group: str, kind: type[Options]) -> list[Parameter]:
    """Return the fields of a group as parameters; unless they say otherwise, in the query."""
    return [
        Parameter(field.name, field.type, field.default, _place(field.type, has_body=False), group)
        for field in msgspec.structs.fields(kind)
    ]


def _place(hint: Any, *, has_body: bool) -> Place:
    if Upload in (hint, *get_args(hint)):
        return Place.PART
    found = extras(hint)
    if any(isinstance(extra, Header) for extra in found):
        return Place.HEADER
    if any(isinstance(extra, Body) or extra is Body for extra in found):
        return Place.BODY
    if any(isinstance(extra, Query) or extra is Query for extra in found):
        return Place.QUERY
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


def _optional(parameter: Parameter, hint: Any, *, everywhere: bool) -> tuple[Any, Any]:
    """Return the type and the default of a field that may be left out.

    In a request it is absent rather than None: null says nothing, and msgspec reads the text "null"
    as None.

    Args:
        everywhere: whether it may come from any place, as a value of a program's.
    """
    if parameter.default is None and not everywhere:
        return _or_unset(hint), msgspec.UNSET
    return hint, parameter.default


def _or_unset(hint: Any) -> Any:
    if hasattr(hint, "__metadata__"):
        return Annotated[(_or_unset(hint.__origin__), *hint.__metadata__)]
    kinds = [part for part in get_args(hint) if part is not NoneType] or [hint]
    return Union[(*kinds, msgspec.UnsetType)]


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
