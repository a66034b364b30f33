"""What is signed is believed in one place, and nothing else is anywhere."""

import asyncio
import itertools
import threading

import msgspec
import pytest

from tests.testing.messages import MACHINE, MESSAGES, RELEASE, START
from tests.testing.signing import OTHER_SEED, SEED, SIGNER, STRANGER, VERIFIER, signed
from towline.trust.signing import (
    AT_ONCE,
    INLINE,
    Signer,
    UnknownKey,
    Verifier,
    answer_to,
    kid_of,
    order_for,
)
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.release import BeatNow, Envelope

SUBJECT = f"task.{MACHINE}.{START}"
REPLY = f"answer.c1.{MACHINE}"
PURPOSE = order_for(SUBJECT, REPLY)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_what_is_signed_is_opened_as_it_was(message: object) -> None:
    whole = message.whole  # type: ignore[attr-defined]
    body = VERIFIER.open(SIGNER.seal(whole, PURPOSE), PURPOSE)
    assert body == msgspec.json.encode(whole)


def test_no_byte_of_a_message_can_be_another() -> None:
    sealed = SIGNER.seal(RELEASE, PURPOSE)
    for at, bit in itertools.product(range(len(sealed)), range(8)):
        altered = bytearray(sealed)
        altered[at] ^= 1 << bit
        with pytest.raises(Unreadable):
            VERIFIER.open(bytes(altered), PURPOSE)
    for at in range(len(sealed)):
        for altered_by in (sealed[:at], sealed[:at] + sealed[at + 1 :]):
            with pytest.raises(Unreadable):
                VERIFIER.open(altered_by, PURPOSE)


@pytest.mark.parametrize(
    "purpose",
    [
        order_for(f"task.{MACHINE}.fedcba9876543210", REPLY),
        order_for("task.machine-2.0123456789abcdef", REPLY),
        order_for("task._all", REPLY),
        order_for(SUBJECT, ""),
        order_for(SUBJECT, "answer.c2.machine-1"),
        order_for(f"{SUBJECT}\0{REPLY}", ""),
        answer_to(SUBJECT, b"", REPLY),
        b"",
    ],
)
def test_what_is_signed_for_one_place_is_worth_nothing_in_another(purpose: bytes) -> None:
    with pytest.raises(Unreadable, match="of something else"):
        VERIFIER.open(SIGNER.seal(RELEASE, PURPOSE), purpose)
    with pytest.raises(Unreadable, match="of something else"):
        VERIFIER.open(SIGNER.seal(RELEASE, purpose), PURPOSE)


QUESTION = ("report.a", b'{"kind":"started"}', "_INBOX.1.2")


@pytest.mark.parametrize(
    "other",
    [
        ("report.a.again", *QUESTION[1:]),
        ("report.b", *QUESTION[1:]),
        (QUESTION[0], b'{"kind":"completed"}', QUESTION[2]),
        (*QUESTION[:2], "_INBOX.1.3"),
        (*QUESTION[:1], b"", QUESTION[2]),
    ],
)
def test_an_answer_is_one_to_its_question_alone(other: tuple[str, bytes, str]) -> None:
    answer = SIGNER.seal(BeatNow(1.7e9, 5.0), answer_to(*other))
    with pytest.raises(Unreadable, match="of something else"):
        VERIFIER.open(answer, answer_to(*QUESTION))
    assert VERIFIER.open(answer, answer_to(*other))


def test_a_key_that_is_not_known_is_worth_nothing() -> None:
    with pytest.raises(Unreadable, match=f"signed with the key {STRANGER.kid}"):
        VERIFIER.open(STRANGER.seal(RELEASE, PURPOSE), PURPOSE)
    # Nor is the name of one that is.
    stolen = messages.envelope(STRANGER.seal(RELEASE, PURPOSE))
    stolen = msgspec.structs.replace(stolen, kid=SIGNER.kid)
    with pytest.raises(Unreadable, match="of something else"):
        VERIFIER.open(msgspec.json.encode(stolen), PURPOSE)


BODY = msgspec.Raw(msgspec.json.encode(RELEASE))
NEUTRAL = "01" + "00" * 31
"""The neutral point (RFC 8032, section 5.1). As a key and in a signature, with the number 0, it
fulfils the equation of the signature for any message."""


@pytest.mark.parametrize(
    "data",
    [
        msgspec.json.encode({"body": BODY}),
        msgspec.json.encode({"body": BODY, "kid": SIGNER.kid}),
        msgspec.json.encode({"body": BODY, "kid": SIGNER.kid, "sig": ""}),
        msgspec.json.encode({"body": BODY, "kid": SIGNER.kid, "sig": None}),
        msgspec.json.encode({"body": BODY, "kid": "", "sig": "00" * 64}),
        msgspec.json.encode(Envelope(BODY, SIGNER.kid, "00" * 64)),
        msgspec.json.encode(Envelope(BODY, SIGNER.kid, "ff" * 64)),
        msgspec.json.encode(Envelope(BODY, SIGNER.kid, "AA" * 64)),
        msgspec.json.encode(Envelope(BODY, SIGNER.kid, "00" * 65)),
        bytes(BODY),
        b"",
        b"null",
        b"[" * 100_000,
    ],
)
def test_what_is_not_signed_is_worth_nothing(data: bytes) -> None:
    with pytest.raises(Unreadable):
        VERIFIER.open(data, PURPOSE)


def test_a_signature_has_one_form() -> None:
    """The other number that stands for the same (RFC 8032, section 8.4) is refused."""
    envelope = messages.envelope(SIGNER.seal(RELEASE, PURPOSE))
    raw = bytes.fromhex(envelope.sig)
    order = 2**252 + 27742317777372353535851937790883648493
    number = int.from_bytes(raw[32:], "little") + order
    other = (raw[:32] + number.to_bytes(32, "little")).hex()
    with pytest.raises(Unreadable, match="of something else"):
        VERIFIER.open(msgspec.json.encode(msgspec.structs.replace(envelope, sig=other)), PURPOSE)


def test_a_public_key_for_which_anybody_can_sign_is_worth_nothing() -> None:
    weak = bytes.fromhex(NEUTRAL)
    forged = Envelope(BODY, kid_of(weak), NEUTRAL + "00" * 32)
    with pytest.raises(Unreadable, match="of something else"):
        Verifier([weak]).open(msgspec.json.encode(forged), PURPOSE)


def test_the_first_of_a_controllers_keys_signs_and_agents_believe_all_that_they_have() -> None:
    before, both, after = Signer([SEED]), Signer([OTHER_SEED, SEED]), Signer([OTHER_SEED])
    assert both.kid == after.kid != before.kid
    assert both.public == [*after.public, *before.public]
    for signer in (before, both, after):
        assert Verifier(both.public).open(signer.seal(RELEASE, PURPOSE), PURPOSE)
    assert Verifier(after.public).open(both.seal(RELEASE, PURPOSE), PURPOSE)
    with pytest.raises(Unreadable):
        Verifier(before.public).open(both.seal(RELEASE, PURPOSE), PURPOSE)


def test_whoever_signs_takes_other_keys_and_what_was_signed_before_can_be_verified() -> None:
    signer, before = Signer([SEED]), Signer([SEED])
    signer.replace(Signer([OTHER_SEED], before.public))
    assert (signer.kid, signer.public) == (STRANGER.kid, STRANGER.public)
    for each in (before, signer):
        assert signer.verifier().open(each.seal(RELEASE, PURPOSE), PURPOSE)
    verifier = Verifier(before.public)
    verifier.replace(Verifier(signer.public))
    assert verifier.public == signer.public
    with pytest.raises(UnknownKey):
        verifier.open(before.seal(RELEASE, PURPOSE), PURPOSE)


@pytest.mark.parametrize("count", [0, 1, INLINE, INLINE + 1, 2 * AT_ONCE + 1])
async def test_many_are_signed_in_their_order_and_a_thread_does_it(count: int) -> None:
    threads = set()

    class Watched(Signer):
        def seal(self, message: msgspec.Struct, purpose: bytes) -> bytes:
            threads.add(threading.current_thread())
            return super().seal(message, purpose)

    wanted = [(BeatNow(1.7e9 + at, 5.0), order_for(f"task.a.{at}", "")) for at in range(count)]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    sealed = await Watched([SEED]).seal_all(wanted)
    running.cancel()
    for message, (order, purpose) in zip(sealed, wanted, strict=True):
        assert VERIFIER.open(message, purpose) == msgspec.json.encode(order)
    if count > INLINE:
        assert threading.main_thread() not in threads
        assert turns > count // AT_ONCE


def test_whatever_is_signed_is_opened_whether_or_not_it_can_be_read() -> None:
    assert VERIFIER.open(signed(b"[]", PURPOSE), PURPOSE) == b"[]"
    with pytest.raises(Unreadable):
        messages.order(VERIFIER.open(signed(b"[]", PURPOSE), PURPOSE), MACHINE)
