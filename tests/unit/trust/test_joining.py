"""What machines that come in and controllers send each other: worth nothing once it is altered."""

import base64

import msgspec
import pytest
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from tests.testing.joining import Machine
from towline.trust import claims, pinned
from towline.trust.claims import NotTrusted
from towline.trust.joining import (
    machine_of,
    open_answer,
    open_renewal,
    open_request,
    seal_answer,
    seal_request,
)
from towline.wire.decoding import Unreadable
from towline.wire.joining import Bundle, JoinAnswer, JoinRequest, Sealed
from towline.wire.target import parse_machine_id

ROOT, FLEET = SigningKey(b"r" * 32), PrivateKey(b"f" * 32)
PIN = pinned.pin_of(bytes(ROOT.verify_key))
MADE = pinned.sign(ROOT, FLEET.public_key)
TOKEN = f"twl1.0123456789abcdef.secret.{PIN}"


def encoded(value: object) -> bytes:
    return msgspec.json.encode(value)


def each_byte_altered(text: str) -> list[str]:
    """Return a text with each of its characters replaced by another of its alphabet."""
    return [
        text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :] for at in range(len(text))
    ]


def test_a_bundle_of_the_pinned_root_gives_the_key_to_send_to() -> None:
    assert pinned.read(encoded(MADE), PIN) == FLEET.public_key


def test_a_bundle_by_another_root_is_not_believed_however_well_it_is_signed() -> None:
    other = pinned.sign(SigningKey(b"o" * 32), FLEET.public_key)
    with pytest.raises(NotTrusted, match="another fleet"):
        pinned.read(encoded(other), PIN)
    # Nor with the pinned root named in it, and another signature.
    forged = msgspec.structs.replace(other, root=MADE.root)
    with pytest.raises(NotTrusted, match="not signed by its root key"):
        pinned.read(encoded(forged), PIN)


def test_no_byte_of_a_bundle_can_be_altered() -> None:
    for name in Bundle.__struct_fields__:
        for altered in each_byte_altered(getattr(MADE, name)):
            with pytest.raises(NotTrusted):
                pinned.read(encoded(msgspec.structs.replace(MADE, **{name: altered})), PIN)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"root": 1}'])
def test_what_is_no_bundle_is_not_believed(data: bytes) -> None:
    with pytest.raises(NotTrusted, match="no bundle"):
        pinned.read(data, PIN)


def test_no_byte_of_a_request_can_be_altered() -> None:
    sealed = Machine().request(TOKEN, FLEET.public_key)
    assert open_request(sealed, FLEET).secret == "secret"
    box = base64.b64decode(sealed.box)
    for at in range(len(box)):
        altered = box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :]
        with pytest.raises(Unreadable):
            open_request(Sealed(sealed.key, base64.b64encode(altered).decode()), FLEET)
    for key in each_byte_altered(sealed.key):
        with pytest.raises(Unreadable):
            open_request(Sealed(key, sealed.box), FLEET)


def test_no_byte_of_a_request_for_a_new_login_can_be_altered() -> None:
    machine = Machine()
    sealed = machine.renewal(FLEET.public_key)
    assert open_renewal(sealed, FLEET).machine == machine.machine
    box = base64.b64decode(sealed.box)
    for at in range(len(box)):
        altered = box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :]
        with pytest.raises(Unreadable):
            open_renewal(Sealed(sealed.key, base64.b64encode(altered).decode()), FLEET)


def test_a_request_names_only_a_key_that_its_sender_has() -> None:
    machine, other = Machine(), Machine()
    request = JoinRequest(other.keys.nkey)
    sealed = seal_request(request, machine.keys.seed, machine.keys.private, FLEET.public_key)
    with pytest.raises(Unreadable, match="not signed by the key that it names"):
        open_request(sealed, FLEET)


def test_a_proof_is_worth_nothing_in_another_box() -> None:
    # Whoever has opened one request can't put what was signed there into a box of his own.
    machine, thief = Machine(), Machine()
    body = encoded(JoinRequest(machine.keys.nkey))
    of_machine = b"towline-join-1\0" + bytes(machine.keys.private.public_key)
    proof = claims.sign_bytes(machine.keys.seed, of_machine + bytes(FLEET.public_key) + body)
    assert claims.has_signed(machine.keys.nkey, of_machine + bytes(FLEET.public_key) + body, proof)
    of_thief = b"towline-join-1\0" + bytes(thief.keys.private.public_key)
    assert not claims.has_signed(
        machine.keys.nkey, of_thief + bytes(FLEET.public_key) + body, proof
    )


def test_an_answer_is_for_one_request_of_one_machine_and_no_byte_of_it_can_be_altered() -> None:
    machine = Machine()
    request = machine.request(TOKEN, FLEET.public_key)
    answer = JoinAnswer("pending", machine.machine, "web-01", "f")
    sealed = seal_answer(answer, request, FLEET)
    assert machine.read(sealed, request, FLEET.public_key) == answer
    again = machine.request(TOKEN, FLEET.public_key)
    with pytest.raises(Unreadable, match="something else"):
        machine.read(sealed, again, FLEET.public_key)
    with pytest.raises(Unreadable):
        Machine().read(sealed, request, FLEET.public_key)
    with pytest.raises(Unreadable, match="something else"):
        machine.read(request, request, FLEET.public_key)  # its own box, sent back
    forged = seal_answer(answer, request, PrivateKey(b"x" * 32))
    with pytest.raises(Unreadable):
        machine.read(forged, request, FLEET.public_key)
    box = base64.b64decode(sealed.box)
    for at in range(len(box)):
        altered = Sealed(
            sealed.key, base64.b64encode(box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :]).decode()
        )
        with pytest.raises(Unreadable):
            open_answer(altered, request, machine.keys.private, FLEET.public_key)


def test_a_machine_id_is_one_and_follows_from_the_key_alone() -> None:
    first, second = Machine(), Machine()
    assert parse_machine_id(first.machine) == machine_of(first.keys.nkey)
    assert first.machine != second.machine
