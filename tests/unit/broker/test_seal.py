"""What bears no mark of a controller's, or another's, is told apart from what does."""

import pytest

from towline.broker.seal import KEY_BYTES, MARK, Seal
from towline.wire.decoding import Unreadable

KEY = bytes(range(KEY_BYTES))
STORED = Seal(KEY).close("job.1", b'{"id":"1"}')


def test_what_was_marked_is_read_by_whoever_has_the_key() -> None:
    assert STORED[MARK:] == b'{"id":"1"}'
    assert Seal(KEY).open("job.1", STORED) == b'{"id":"1"}'


@pytest.mark.parametrize("at", range(len(STORED)))
def test_no_byte_can_be_altered(at: int) -> None:
    altered = bytearray(STORED)
    altered[at] ^= 1
    with pytest.raises(Unreadable, match="no controller of this fleet has stored it there"):
        Seal(KEY).open("job.1", bytes(altered))


@pytest.mark.parametrize(
    ("key", "subject", "stored"),
    [
        (KEY, "job.1", b'{"id":"1"}'),
        (KEY, "job.1", b""),
        (KEY, "job.1", STORED[: MARK - 1]),
        (KEY, "job.2", STORED),
        (KEY, "job.", b"1" + STORED),
        (bytes(KEY_BYTES), "job.1", STORED),
    ],
)
def test_what_was_not_stored_there_is_refused_and_counted(
    key: bytes, subject: str, stored: bytes
) -> None:
    seal = Seal(key)
    with pytest.raises(Unreadable):
        seal.open(subject, stored)
    assert seal.refused == 1


def test_without_a_key_nothing_is_marked_and_everything_is_taken() -> None:
    seal = Seal()
    assert seal.close("job.1", b"{}") == b"{}"
    assert seal.open("job.1", b"{}") == b"{}"
