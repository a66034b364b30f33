"""Requests that were refused, or have failed: a flood of them is a few entries with a count."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from towline.controller.audit.entry import Request

TOGETHER = 60.0
"""Seconds for which requests of one kind become one entry, behind the first."""
MOST_KINDS = 500
"""Kinds that are told apart at a time: whoever has thousands of addresses fills no journal."""

Kind = tuple[object, ...]
_ALL_OTHERS: Kind = ("others",)


class _Open(msgspec.Struct):
    """A kind of which a request has come: when it is looked at again, and what has come since."""

    until: float
    count: int = 0
    newest: Request | None = None


class Refusals:
    """Passes on the first refused request of a kind at once, and later one for all that followed.

    Requests are of one kind where caller, token, address, operation and status are the same.

    Args:
        record: takes what becomes an entry.
        together, most: see the constants.
    """

    def __init__(
        self,
        record: Callable[[Request], None],
        *,
        together: float = TOGETHER,
        most: int = MOST_KINDS,
    ) -> None:
        self._record = record
        self._together = together
        self._most = most
        self._open: dict[Kind, _Open] = {}

    def add(self, request: Request, origin: str, now: float) -> None:
        """Take a request.

        Args:
            origin: what counts as one address.
            now: seconds, by a clock that nobody sets.
        """
        kind: Kind = (
            *(request.caller, request.token, origin),
            *(request.operation, request.method, request.status),
        )
        if kind not in self._open and len(self._open) >= self._most:
            kind = _ALL_OTHERS
            request = msgspec.structs.replace(
                request, caller="", token="", roles=[], address="", target="", path="/", trace=""
            )
        found = self._open.get(kind)
        if found is None:
            self._open[kind] = _Open(now + self._together)
            self._record(request)
            return
        found.count += 1
        found.newest = request

    @property
    def next(self) -> float | None:
        """When something is to be looked at again; None for never."""
        return next(iter(self._open.values())).until if self._open else None

    def look(self, now: float) -> None:
        """Pass on what has come of kinds whose time is over."""
        # They all stay for as long: the first is the oldest.
        while self._open:
            kind, found = next(iter(self._open.items()))
            if found.until > now:
                return
            del self._open[kind]
            if found.newest is not None:
                self._open[kind] = _Open(now + self._together)
                self._pass(found)

    def close(self) -> None:
        """Pass on all that has come."""
        for found in self._open.values():
            self._pass(found)
        self._open.clear()

    def _pass(self, found: _Open) -> None:
        if found.newest is not None:
            self._record(msgspec.structs.replace(found.newest, count=found.count))
