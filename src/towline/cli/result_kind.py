"""What is known of the results of an operation: which of their fields are what to people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from towline.operation import OUTCOME, RESULT_RESERVED, STATUS, AnyOperation, Effect
from towline.signature import shown


class Kind(msgspec.Struct, frozen=True):
    """What is known of an operation's results.

    Attributes:
        status: what a node's status is called in them.
        reads: whether they are what was asked for, rather than what was changed.
        same, size, more: the fields that bear these marks; see `towline.signature.shown`.
        items: the field that lists things, with the names of their fields.
        well: the statuses of nodes that did it, or would.
        changes: what is said of those that changed something, or would, and of those that didn't.
    """

    status: str = STATUS
    reads: bool = False
    same: Sequence[str] = ()
    size: Sequence[str] = ()
    more: Sequence[str] = ()
    items: tuple[str, Sequence[str]] | None = None
    well: Collection[str] = ("ok",)
    changes: tuple[str, str] = ("changed", "unchanged")


def kind_of(operation: AnyOperation | None, results: list[dict[str, Any]]) -> Kind:
    """Return what is known of the results of an operation.

    Args:
        operation: None for one that this version doesn't know: then its results alone say it.
    """
    if operation is None:
        status = OUTCOME if any(OUTCOME in row for row in results) else STATUS
        return Kind(status, items=_listed(results))
    result = operation.result
    return Kind(
        operation.status,
        operation.effect is Effect.READ,
        shown.fields_that_are(shown.SAME, result),
        shown.fields_that_are(shown.BYTES, result),
        shown.fields_that_are(shown.MORE, result),
        _items(result),
    )


def _items(result: type[msgspec.Struct]) -> tuple[str, Sequence[str]] | None:
    """Return the only field of a struct that lists structs, with the names of their fields."""
    hints = get_type_hints(result)
    found = []
    names = zip(result.__struct_fields__, result.__struct_encode_fields__, strict=True)
    for name, encoded in names:
        hint = hints[name]
        (kind,) = get_args(hint) if get_origin(hint) is list else (None,)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            found.append((encoded, kind.__struct_encode_fields__))
    return found[0] if len(found) == 1 else None


def _listed(results: list[dict[str, Any]]) -> tuple[str, Sequence[str]] | None:
    """Return the only field of results that lists things, with the names of their fields."""
    lists = {
        name: value
        for row in results
        for name, value in row.items()
        if name not in RESULT_RESERVED and isinstance(value, list) and value
    }
    if len(lists) != 1:
        return None
    ((field, first),) = lists.items()
    if not all(isinstance(item, dict) for item in first):
        return None
    names = dict.fromkeys(name for row in results for item in row.get(field) or () for name in item)
    return field, [*names]
