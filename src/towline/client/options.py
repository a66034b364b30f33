"""What callers choose: how a job is done, and which jobs and events they want to see."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec

from towline.wire.credential import Credential

WAIT = 30.0
"""Seconds that a request waits for results unless told otherwise: asked for, not left to what the
controller is configured to, which may be longer than the request may take."""


class Options(msgspec.Struct, frozen=True):
    """How jobs are carried out.

    Attributes:
        wait: seconds to wait for results, at most.
        expires: within how long a node must begin: `30s`, `12h`; None for what is usual there.
        idempotency_key: the same key with the same request means the same job, for a day.
        max_parallel: so many nodes at a time: a number, or a percentage of them: `"10%"`.
        canary: so many nodes first, alone, likewise.
        max_failures: so many nodes may fail, likewise: past it those that wait are cancelled.
        credential: for the image's registry, in place of what is kept; it is never shown.
    """

    wait: float = WAIT
    expires: str | None = None
    idempotency_key: str | None = None
    max_parallel: int | str | None = None
    canary: int | str | None = None
    max_failures: int | str | None = None
    credential: Credential | None = None

    def headers(self) -> dict[str, str]:
        """Return what of this stands in a request's headers."""
        headers = {}
        if self.idempotency_key is not None:
            headers["Idempotency-Key"] = self.idempotency_key
        if self.credential is not None:
            headers["X-Registry-Auth"] = self.credential.header
        return headers

    def query(self) -> dict[str, str]:
        """Return what of this stands in a request's query."""
        names = ("expires", "max_parallel", "canary", "max_failures")
        given = {name: getattr(self, name) for name in names}
        return {name: str(value) for name, value in given.items() if value is not None}


def changed(options: Options, **given: Any) -> Options:
    """Return options in which those given take the place of others."""
    changes = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(options, **changes)


class JobFilters(TypedDict, total=False):
    """Which jobs a page is of; times by RFC 3339, or as a duration: that long ago."""

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
    """Which events a stream is of; `event` takes several kinds, separated by commas."""

    operation: str | None
    target: str | None
    node: str | None
    caller: str | None
    event: str | None
    since: str | None
