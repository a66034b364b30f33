"""Whatever arrives is a value or is unreadable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.wire.decoding import Decoder, Unreadable
from towline.wire.job import Job

WHOLE = (
    b'{"id":"01a21580-537b-78e7-924b-1cc27396b3b8","operation":"node.load.get","parameters":{"x":%b},"target":"_all","caller":"c",'
    b'"created":1700000000,"expires":1700000060}'
)

decoder = Decoder(Job)


def test_what_is_of_the_type_is_its_value() -> None:
    assert decoder.decode(WHOLE % b"1").parameters == {"x": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        WHOLE % b'"\xff"',
        WHOLE % b'"\\ud800"',
        WHOLE % (b"[" * 100_000 + b"]" * 100_000),
        WHOLE % (b'{"a":' * 100_000),
        (WHOLE % b"1").replace(b'"created":1700000000', b'"created":1e999'),
        (WHOLE % b"1")[:-1],
        WHOLE % b"1" + b"x",
    ],
    ids=lambda data: f"{data[:20]!r}{len(data)}",
)
def test_whatever_else_arrives_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        decoder.decode(data)


@given(st.binary(max_size=200))
def test_bytes_without_meaning_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(Unreadable):
        decoder.decode(data)
