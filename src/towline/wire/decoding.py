"""Decoding: whatever arrives becomes a value of its type, or is unreadable."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

LARGEST = 8 * 1024 * 1024
"""Bytes of a message that are looked at, unless told otherwise: brokers take no larger one."""


class Unreadable(ValueError):
    """Bytes that arrived can't be read as what they should be; the message says why."""


class Decoder(Generic[T]):
    """Reads JSON as one type.

    Args:
        type: a struct, or whatever msgspec converts to.
        largest: bytes of a message at most.
    """

    def __init__(self, type: type[T], *, largest: int = LARGEST) -> None:
        self._decoder = msgspec.json.Decoder(type)
        self._largest = largest

    def decode(self, data: bytes | msgspec.Raw) -> T:
        """Return the value that `data` holds.

        Raises:
            Unreadable: it is no JSON, no UTF-8, nested too deeply, too large, or not of this type.
        """
        if len(memoryview(data)) > self._largest:
            raise Unreadable(f"it has more than {self._largest} bytes")
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise Unreadable(str(error)) from error
