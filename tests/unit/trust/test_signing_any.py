"""Envelopes of whatever kind: what was signed for this place, or unreadable."""

import json
from typing import Any

import msgspec
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.testing.signing import SIGNER, VERIFIER
from towline.trust.signing import answer_to, order_for
from towline.wire.decoding import Unreadable
from towline.wire.release import BeatNow

SUBJECTS = st.text("abc.*>_-0", max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
HEX = st.text("0123456789abcdef", min_size=128, max_size=128)


def opened(data: bytes, purpose: bytes = b"x") -> bytes | None:
    """Open an envelope; None where that is refused."""
    try:
        return VERIFIER.open(data, purpose)
    except Unreadable:
        return None


@given(SUBJECTS, SUBJECTS, SUBJECTS, SUBJECTS)
def test_an_order_opens_where_it_was_sent_and_nowhere_else(
    subject: str, reply: str, other: str, another: str
) -> None:
    message = BeatNow(1.8e9, 5.0)
    sealed = SIGNER.seal(message, order_for(subject, reply))
    assert opened(sealed, order_for(subject, reply)) == msgspec.json.encode(message)
    assume((other, another) != (subject, reply))
    assert opened(sealed, order_for(other, another)) is None


@given(SUBJECTS, st.binary(max_size=50), SUBJECTS, SUBJECTS, st.binary(max_size=50), SUBJECTS)
def test_an_answer_opens_as_that_to_its_question_and_to_no_other(
    subject: str, question: bytes, reply: str, other: str, asked: bytes, another: str
) -> None:
    sealed = SIGNER.seal(BeatNow(1.8e9, 5.0), answer_to(subject, question, reply))
    assert opened(sealed, answer_to(subject, question, reply)) is not None
    assume((other, asked, another) != (subject, question, reply))
    assert opened(sealed, answer_to(other, asked, another)) is None
    assert opened(sealed, order_for(subject, reply)) is None


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_no_envelope(data: bytes) -> None:
    assert opened(data) is None


@given(st.fixed_dictionaries({"kid": JSON | st.just(SIGNER.kid), "sig": JSON | HEX, "body": JSON}))
@example({"kid": SIGNER.kid, "sig": "zz" * 64, "body": {}})
@example({"kid": SIGNER.kid, "sig": "", "body": {}})
@example({"kid": SIGNER.kid, "sig": "0" * 126, "body": {}})
def test_any_envelope_is_unreadable_without_the_key(value: dict[str, Any]) -> None:
    assert opened(json.dumps(value).encode()) is None


@given(st.data())
def test_no_byte_of_an_envelope_s_body_or_signature_can_be_another(data: st.DataObject) -> None:
    sealed = SIGNER.seal(BeatNow(1.8e9, 5.0), b"x")
    place = data.draw(st.integers(0, len(sealed) - 1))
    changed = bytearray(sealed)
    changed[place] = data.draw(st.integers(0, 255))
    found = opened(bytes(changed))
    assert found is None or found == opened(sealed)
