"""The caller's `traceparent`: one that can't be read is as good as none."""

import pytest
from starlette.requests import Request

from towline.controller.http.request import traceparent

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def request(*values: bytes) -> Request:
    headers = [(b"traceparent", value) for value in values]
    return Request({"type": "http", "headers": headers})


def test_a_valid_one_is_the_job_s() -> None:
    assert traceparent(request(VALID.encode())) == VALID
    assert traceparent(request()) is None


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
    assert traceparent(request(value)) is None
