"""What is known of the results of an operation: which of their fields are what to people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from towline.operation import OUTCOME, RESULT_RESERVED, STATUS, AnyOperation, Effect
from towline.signature import shown


class Kind(msgspec.Struct, frozen=True):
    """What is known of an operation's results.

    Attributes:
        status: what a node's status is called in them.
        reads: whether they are what was asked for, rather than what was changed.
        same, size, more, sums, images: the fields that bear these marks, those of the things that
            are listed included; see `towline.signature.shown`.
        items: the field that lists things, with the names of their fields.
        limited: whether `--limit` says how many things are listed.
        unknown: whether this version doesn't know the operation.
        well: the statuses of nodes that did it, or would.
        changes: what is said of those that changed something, or would, and of those that didn't.
        sum_of: how a sum is said: its name, and the sum.
    """

    status: str = STATUS
    reads: bool = False
    same: Sequence[str] = ()
    size: Sequence[str] = ()
    more: Sequence[str] = ()
    sums: Sequence[str] = ()
    images: Sequence[str] = ()
    items: tuple[str, Sequence[str]] | None = None
    limited: bool = False
    unknown: bool = False
    well: Collection[str] = ("ok",)
    changes: tuple[str, str] = ("changed", "unchanged")
    sum_of: str = "{} {}"


def kind_of(operation: AnyOperation | None, results: list[dict[str, Any]]) -> Kind:
    """Return what is known of the results of an operation.

    Args:
        operation: None for one that this version doesn't know: then its results alone say it.
    """
    if operation is None:
        status = OUTCOME if any(OUTCOME in row for row in results) else STATUS
        return Kind(status, items=_listed(results), unknown=True)
    kind = kind_of_struct(operation.result)
    return msgspec.structs.replace(
        kind,
        status=operation.status,
        reads=operation.effect is Effect.READ,
        limited=any(each.name == "limit" for each in operation.signature.parameters),
    )


def kind_of_struct(result: type[msgspec.Struct]) -> Kind:
    """Return what a struct itself says of its fields, and of those of the things that it lists."""
    listed = _items(result)
    structs = [result] if listed is None else [result, listed[1]]

    def marked(mark: Meta) -> list[str]:
        return [name for struct in structs for name in shown.fields_that_are(mark, struct)]

    return Kind(
        same=shown.fields_that_are(shown.SAME, result),
        size=marked(shown.BYTES),
        more=shown.fields_that_are(shown.MORE, result),
        sums=shown.fields_that_are(shown.SUM, result),
        images=marked(shown.IMAGE),
        items=None if listed is None else (listed[0], listed[1].__struct_encode_fields__),
    )


def _items(result: type[msgspec.Struct]) -> tuple[str, type[msgspec.Struct]] | None:
    """Return the only field of a struct that lists structs, and which structs these are."""
    hints = get_type_hints(result)
    found = []
    names = zip(result.__struct_fields__, result.__struct_encode_fields__, strict=True)
    for name, encoded in names:
        hint = hints[name]
        (kind,) = get_args(hint) if get_origin(hint) is list else (None,)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            found.append((encoded, kind))
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
