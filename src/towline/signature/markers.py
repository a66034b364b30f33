"""What a parameter is besides its type: where it stands, what it must be, how it looks."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec


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
        canonical: makes of what the rule returns the one way of writing what the value means. It
            is what permissions that are narrowed to some values look at; None for the value itself.
    """

    def __init__(
        self, rule: Callable[[Any], Any], *, canonical: Callable[[Any], str] | None = None
    ) -> None:
        self.rule = rule
        self.canonical = canonical


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
        mend: what to send instead of what can't be read.
    """

    def __init__(
        self,
        name: str,
        *,
        read: Callable[[list[str]], Any],
        write: Callable[[Any], str] = str,
        schema: Mapping[str, Any] | None = None,
        mend: str = "",
    ) -> None:
        self.name = name
        self.key = name.lower().encode()
        self.read = read
        self.write = write
        self.schema = schema or {"type": "string"}
        self.mend = mend


class Flag:
    """Says how a parameter looks on the command line.

    Args:
        metavar: what stands for its value in the help.
        hidden: whether it has no option of its own there.
        several: whether an operation's command takes several values of it, each for a job of its
            own. The parameter is one that has to be given.
    """

    def __init__(
        self, metavar: str | None = None, *, hidden: bool = False, several: bool = False
    ) -> None:
        self.metavar = metavar
        self.hidden = hidden
        self.several = several


class Filled:
    """Marks a parameter, a list of texts, to which a controller adds what it knows itself.

    It does so when it makes a job: what nodes are given is what was asked and that together. An
    `Idempotency-Key` stands for what was asked.

    Args:
        by: what the controller calls what it adds.
    """

    def __init__(self, by: str) -> None:
        self.by = by


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The base of parameters that several functions share: a group, as one keyword parameter."""


class Upload(msgspec.Struct):
    """A file that a request brings.

    Attributes:
        filename: as the sender calls it, without directories.
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
        return extras(self.hint)

    @property
    def header(self) -> Header:
        """The header that it stands in."""
        return next(extra for extra in self.extras if isinstance(extra, Header))

    @property
    def flag(self) -> Flag:
        """How it looks on the command line."""
        return next((extra for extra in self.extras if isinstance(extra, Flag)), Flag())

    @property
    def description(self) -> str | None:
        """What it means, for people; None where nothing says it."""
        metas = (extra for extra in self.extras if isinstance(extra, msgspec.Meta))
        return next((meta.description for meta in metas if meta.description), None)


def extras(hint: Any) -> list[Any]:
    """Return all that `Annotated` adds to a type, outside and inside of an optional one."""
    own = list(getattr(hint, "__metadata__", ()))
    if own:
        return [*extras(hint.__origin__), *own]
    if get_origin(hint) in (Union, UnionType):
        return [extra for part in get_args(hint) for extra in extras(part)]
    return own
