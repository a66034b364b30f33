"""The caller's `traceparent`: for one that can't be read a new one is made."""

import re
from typing import Any, cast

import pytest
from starlette.datastructures import Headers

from towline.endpoint import Context

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def trace(*values: bytes) -> str:
    """Return the trace of a request with these headers."""
    headers = Headers(raw=[(b"traceparent", value) for value in values])
    return Context(cast(Any, None), None, headers).trace


def is_new(value: str) -> bool:
    """Whether a trace is one that was made here, in version 00."""
    return re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", value) is not None


def test_a_valid_one_is_the_job_s() -> None:
    assert trace(VALID.encode()) == VALID


def test_a_later_version_may_say_more() -> None:
    later = "cc" + VALID[2:] + "-what-the-future-will-be-like"
    assert trace(later.encode()) == later


def test_a_request_without_one_begins_a_trace_of_its_own() -> None:
    assert is_new(trace())
    assert trace() != trace()


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"x", VALID.encode()[:-1], VALID.upper().encode(), VALID.encode() + b"\n"),
        *(b"\x85", b"\x00", b"a" * 60_000, b"cc" + VALID.encode()[2:] + b"-\x85"),
        b"cc" + VALID.encode()[2:] + b"-" + b"a" * 60_000,
        # What the grammar has, and the standard takes for invalid all the same.
        b"ff" + VALID.encode()[2:],
        VALID.encode() + b"-more",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
    ],
)
def test_one_that_is_not_valid_is_left_out(value: bytes) -> None:
    assert is_new(trace(value))


def test_two_of_them_are_left_out() -> None:
    assert is_new(trace(VALID.encode(), VALID.encode()))
