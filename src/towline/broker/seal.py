"""Seals: what controllers store bears their mark, and what has none counts for nothing.

Whoever holds the broker can look at what is stored, remove it, and put back what once was there. He
can't store anything that controllers would take for their own. The mark is a keyed hash and no
signature: controllers alone read what they store, and it has to be cheap for each report of a node.
"""

from __future__ import annotations

import hashlib
import hmac

from towline.wire.decoding import Unreadable

KEY_BYTES = 32
MARK_BYTES = 16
MARK = 2 * MARK_BYTES
"""Bytes of a mark, in hex: whoever looks at a stream sees text."""


class Seal:
    """Marks what is stored, and tells whether that is what was marked.

    Attributes:
        refused: how often something was found that no controller had stored there.

    Args:
        key: what all controllers of the fleet have, `KEY_BYTES` long; None to mark nothing, and to
            take everything.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key
        self.refused = 0

    def close(self, subject: str, data: bytes) -> bytes:
        """Return something as it is stored on a subject."""
        return data if self._key is None else self._mark(self._key, subject, data) + data

    def open(self, subject: str, stored: bytes) -> bytes:
        """Return what was stored on a subject.

        Raises:
            Unreadable: no controller of this fleet has stored it there.
        """
        if self._key is None:
            return stored
        data = stored[MARK:]
        if not hmac.compare_digest(stored[:MARK], self._mark(self._key, subject, data)):
            self.refused += 1
            raise Unreadable("no controller of this fleet has stored it there")
        return data

    @staticmethod
    def _mark(key: bytes, subject: str, data: bytes) -> bytes:
        mark = hashlib.blake2b(subject.encode() + b"\0", key=key, digest_size=MARK_BYTES)
        mark.update(data)
        return mark.hexdigest().encode()
