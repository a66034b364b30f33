"""The caller's `traceparent`: one that can't be read is as good as none."""

from typing import Any, cast

import pytest
from starlette.datastructures import Headers

from towline.endpoint import Context

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def trace(*values: bytes) -> str | None:
    """Return the trace of a request with these headers."""
    headers = Headers(raw=[(b"traceparent", value) for value in values])
    return Context(cast(Any, None), None, headers).trace


def test_a_valid_one_is_the_job_s() -> None:
    assert trace(VALID.encode()) == VALID
    assert trace() is None


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"x", VALID.encode()[:-1], VALID.upper().encode(), VALID.encode() + b"\n"),
        *(
            b"\x85",
            b"\x00",
            b"a" * 9000,
            VALID.encode() + b"-\x85",
            VALID.encode() + b"-" + b"a" * 999,
        ),
    ],
)
def test_one_with_which_a_job_could_not_be_read_is_left_out(value: bytes) -> None:
    assert trace(value) is None
