"""References to facts, `@fact.NAME`, in the texts of parameters: only the node knows the facts.

Until it has resolved them a text may be any; then it must be what the parameter's type says.
"""

from __future__ import annotations

import enum
import re
import types
from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

_PART = "[A-Za-z0-9_]+(?:-+[A-Za-z0-9_]+)*"
_REFERENCE = re.compile(rf"@fact\.({_PART}(?:\.{_PART})*)")


def refers(value: Any) -> bool:
    """Return whether a value has a reference to a fact, `@fact.NAME`, in any text in it."""
    if isinstance(value, str):
        return "@fact." in value and _REFERENCE.search(value) is not None
    if isinstance(value, Mapping):
        return any(map(refers, value.values()))
    return isinstance(value, list) and any(map(refers, value))


def resolve(value: Any, facts: Mapping[str, str]) -> Any:
    """Return a value with what the references to facts in it stand for.

    Args:
        facts: those of a machine by name, as `named` returns them.

    Raises:
        ValueError: a fact is not known; the text names it.
    """
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: _fact(found[1], facts), value)
    if isinstance(value, Mapping):
        return {name: resolve(inner, facts) for name, inner in value.items()}
    if isinstance(value, list):
        return [resolve(inner, facts) for inner in value]
    return value


def _fact(name: str, facts: Mapping[str, str]) -> str:
    """Return what a name stands for; from a hyphen on it may be text that follows the name.

    Of several names that are known the longest counts.
    """
    # What is longer than any name need not be looked up at each of its hyphens.
    found = name[: max(map(len, facts), default=0) + 1]
    while found not in facts:
        found, hyphen, _ = found.rpartition("-")
        if not hyphen:
            raise ValueError(f"@fact.{name} is not known of this node")
    return facts[found] + name[len(found) :]


def relaxed(hint: Any) -> Any:
    """Return a type that is like another, but without bounds and choices of text in it."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _relaxed_struct(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return str if all(isinstance(each.value, str) for each in hint) else hint
    inner = get_args(hint)
    if hasattr(hint, "__metadata__"):
        base = relaxed(hint.__origin__)
        # What is said of a text says nothing of another; what is said of a list of texts does.
        return base if _is_text(base) else Annotated[(base, *hint.__metadata__)]
    if get_origin(hint) is Literal:
        return str if all(isinstance(each, str) for each in inner) else hint
    if get_origin(hint) in (Union, types.UnionType):
        return reduce(or_, map(relaxed, inner))
    if get_origin(hint) is not None and inner:
        return get_origin(hint)[tuple(map(relaxed, inner))]
    return hint


def _is_text(hint: Any) -> bool:
    """Return whether a type is that of text, be it one that may be left out."""
    return hint is str or (get_origin(hint) in (Union, types.UnionType) and str in get_args(hint))


def _relaxed_struct(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    config = kind.__struct_config__
    return msgspec.defstruct(
        kind.__name__,
        [
            (field.name, relaxed(field.type), _field(field))
            for field in msgspec.structs.fields(kind)
        ],
        kw_only=True,
        forbid_unknown_fields=config.forbid_unknown_fields,
        omit_defaults=config.omit_defaults,
        tag=config.tag,
        tag_field=config.tag_field,
    )


def _field(field: msgspec.structs.FieldInfo) -> Any:
    """Return the name and the default of a field, for a struct type that has the same."""
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(name=field.encode_name, default_factory=field.default_factory)
    return msgspec.field(name=field.encode_name, default=field.default)
