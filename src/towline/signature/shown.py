"""What the fields of an operation's result are to people who read it.

A result's struct may say so of its fields, and need not. Where it says nothing, each is shown as
it is.

Example:
    class Copied(msgspec.Struct, frozen=True):
        changed: bool
        checksum: Annotated[str, SAME]
        size: Annotated[int, BYTES]
"""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

_KEY = "shown"

SAME = Meta(extra={_KEY: "same"})
"""The same on all nodes, unless something is not as it should be: it is said once, and the nodes
are listed whose value is another than most have."""

BYTES = Meta(extra={_KEY: "bytes"})
"""A number of bytes."""

MORE = Meta(extra={_KEY: "more"})
"""A bool: there are more of the things that the result lists than were asked for."""

SUM = Meta(extra={_KEY: "sum"})
"""A number that adds up over nodes: the sum of all is said once."""

IMAGE = Meta(extra={_KEY: "image"})
"""The name of an image in full, or a list of such: people are shown the names that they know."""


def fields_that_are(mark: Meta, struct: type[msgspec.Struct]) -> list[str]:
    """Return the names, as JSON has them, of the fields of a struct that bear a mark."""
    hints: dict[str, Any] = get_type_hints(struct, include_extras=True)
    names = zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
    return [encoded for name, encoded in names if any(each is mark for each in _marks(hints[name]))]


def _marks(hint: Any) -> list[Any]:
    """Return what a field's type is annotated with, one that may be None included."""
    kinds = [hint] if hasattr(hint, "__metadata__") else get_args(hint)
    return [mark for kind in kinds for mark in getattr(kind, "__metadata__", ())]
