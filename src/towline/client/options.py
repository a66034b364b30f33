"""What callers choose: how a job is carried out, and which jobs and events they want."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec

from towline.wire.credential import Credential

WAIT = 30.0
"""Seconds that a request waits for results by default. The request asks for it: what the controller
is configured to may be longer than the HTTP request may take."""


class Options(msgspec.Struct, frozen=True):
    """How jobs are carried out.

    Attributes:
        wait: seconds that a request waits for results, at most.
        expires: within how long each node must begin, `30s` or `12h`; None for the controller's
            own default.
        idempotency_key: the same key with the same request means the same job, for a day.
        max_parallel: how many nodes run the job at a time: a number, or a percentage of its nodes,
            `"10%"`.
        canary: how many nodes run it first, alone; as `max_parallel`.
        max_failures: how many nodes may fail; as `max_parallel`. When more have failed, those that
            wait for their turn are cancelled.
        credential: for the image's registry, in place of the one that is kept; it is never shown.
    """

    wait: float = WAIT
    expires: str | None = None
    idempotency_key: str | None = None
    max_parallel: int | str | None = None
    canary: int | str | None = None
    max_failures: int | str | None = None
    credential: Credential | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers that carry these options."""
        headers = {}
        if self.idempotency_key is not None:
            headers["Idempotency-Key"] = self.idempotency_key
        if self.credential is not None:
            headers["X-Registry-Auth"] = self.credential.header
        return headers

    def query(self) -> dict[str, str]:
        """Return the query that carries these options."""
        names = ("expires", "max_parallel", "canary", "max_failures")
        given = {name: getattr(self, name) for name in names}
        return {name: str(value) for name, value in given.items() if value is not None}


def changed(options: Options, **given: Any) -> Options:
    """Return `options` with those that are given, and not None, in place of its own."""
    changes = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(options, **changes)


class JobFilters(TypedDict, total=False):
    """Which jobs a page has. A time is one of RFC 3339, or a duration: that long ago."""

    status: str | None
    operation: str | None
    target: str | None
    node: str | None
    caller: str | None
    since: str | None
    until: str | None
    limit: int
    offset: int
    cursor: str | None


class EventFilters(TypedDict, total=False):
    """Which events a stream has; `event` takes several kinds, separated by commas."""

    operation: str | None
    target: str | None
    node: str | None
    caller: str | None
    event: str | None
    since: str | None
