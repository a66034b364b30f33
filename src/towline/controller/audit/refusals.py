"""Requests that anybody may send any number of: a flood of them is a few entries with a count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from towline.controller.audit.entry import Request

TOGETHER = 60.0
"""Seconds for which requests of one kind become one entry, behind the first."""
MOST_KINDS, MOST_NAMELESS = 500, 200
"""Kinds that are told apart at a time, of requests with a valid token and of those without: whoever
has thousands of addresses, and no token, fills no journal, and hides no caller."""

Kind = tuple[object, ...]
"""What requests have in common; at its end whether they had a valid token."""


class _Open(msgspec.Struct):
    """A kind of which a request has come: when it is looked at again, and what has come since."""

    until: float
    count: int = 0
    newest: Request | None = None


class Refusals:
    """Passes on the first request of a kind at once, and later one for all that followed.

    Requests are of one kind where caller, token, address, operation and status are the same.

    Args:
        record: takes what becomes an entry.
        together, most, most_nameless: see the constants.
    """

    def __init__(
        self,
        record: Callable[[Request], None],
        *,
        together: float = TOGETHER,
        most: int = MOST_KINDS,
        most_nameless: int = MOST_NAMELESS,
    ) -> None:
        self._record = record
        self._together = together
        self._most = {True: most, False: most_nameless}
        self._kinds: Counter[object] = Counter()
        self._open: dict[Kind, _Open] = {}

    def add(self, request: Request, origin: str, now: float) -> None:
        """Take a request.

        Args:
            origin: what counts as one address.
            now: seconds, by a clock that nobody sets.
        """
        named = bool(request.caller)
        kind: Kind = (
            *(request.caller, request.token, origin),
            *(request.operation, request.method, request.status, named),
        )
        if kind not in self._open and self._kinds[named] >= self._most[named]:
            kind = ("others", named)
            request = msgspec.structs.replace(
                request, caller="", token="", roles=[], address="", target="", path="/", trace=""
            )
        found = self._open.get(kind)
        if found is None:
            self._open[kind] = _Open(now + self._together)
            self._kinds[named] += 1
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
            else:
                self._kinds[kind[-1]] -= 1

    def close(self) -> None:
        """Pass on all that has come."""
        for found in self._open.values():
            self._pass(found)
        self._open.clear()
        self._kinds.clear()

    def _pass(self, found: _Open) -> None:
        if found.newest is not None:
            self._record(msgspec.structs.replace(found.newest, count=found.count))
