"""What JetStream's answers become."""

import pytest

from towline.broker.answers import (
    BrokerRefused,
    WrongLastSequence,
    read_acknowledgement,
    read_answer,
)
from towline.errors import BrokerUnreachable

UNREADABLE = [b"", b"+OK", b"[]", b"7", b"{", b"\xff", b"[" * 100_000]


def test_an_answer_is_returned_with_the_time_that_it_names() -> None:
    answer, moment = read_answer("INFO", b'{"ts":"2027-01-15T08:00:00.123456789Z","x":[1]}')
    assert answer["x"] == [1]
    assert moment == pytest.approx(1_800_000_000.123457, abs=1e-6)
    assert read_answer("INFO", b"{}") == ({}, None)


@pytest.mark.parametrize("read", [read_answer, read_acknowledgement])
def test_an_error_is_raised_with_its_number(read: object) -> None:
    assert callable(read)
    with pytest.raises(BrokerRefused, match="stream not found") as refused:
        read("INFO", b'{"error":{"code":404,"err_code":10059,"description":"stream not found"}}')
    assert refused.value.number == 10059
    with pytest.raises(WrongLastSequence):
        read("INFO", b'{"error":{"err_code":10071,"description":"wrong last sequence: 3"}}')


@pytest.mark.parametrize("data", [*UNREADABLE, b'{"error":7}', b'{"ts":"yesterday"}'])
def test_an_answer_that_cannot_be_read_is_as_good_as_none(data: bytes) -> None:
    with pytest.raises(BrokerUnreachable, match="'INFO' can't be read"):
        read_answer("INFO", data)


@pytest.mark.parametrize("data", [*UNREADABLE, b"{}", b'{"seq":"x"}', b'{"error":7}'])
def test_an_acknowledgement_that_cannot_be_read_is_as_good_as_none(data: bytes) -> None:
    with pytest.raises(BrokerUnreachable, match="'INFO' can't be read"):
        read_acknowledgement("INFO", data)


def test_an_acknowledgement_names_the_sequence() -> None:
    assert read_acknowledgement("t", b'{"stream":"TESTS","seq":7,"duplicate":true}') == 7
