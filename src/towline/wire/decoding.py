"""Decoding: whatever arrives becomes a value of its type, or is unreadable."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Unreadable(ValueError):
    """Bytes that arrived can't be read as what they should be; the message says why."""


class Decoder(Generic[T]):
    """Reads JSON as one type.

    Args:
        type: a struct, or whatever msgspec converts to.
    """

    def __init__(self, type: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(type)

    def decode(self, data: bytes) -> T:
        """Return the value that `data` holds.

        Raises:
            Unreadable: it is no JSON, no UTF-8, nested too deeply, or not of this type.
        """
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Unreadable(str(error)) from error
