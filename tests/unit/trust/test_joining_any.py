"""What a machine sends that comes in is read, or unreadable, whatever it is."""

import base64
import contextlib

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey

from tests.testing.joining import Machine
from tests.testing.messages import places, put
from towline.trust import claims
from towline.trust.joining import (
    RENEWAL,
    REQUEST,
    _seal,
    _signed_for,
    machine_of,
    open_renewal,
    open_request,
)
from towline.wire.decoding import Unreadable
from towline.wire.joining import JoinRequest, RenewalRequest, Sealed, Signed
from towline.wire.target import parse_machine_id

FLEET = PrivateKey.generate()
MACHINE = Machine()
NKEY = MACHINE.keys.nkey
REQUESTS: list[tuple[bytes, JoinRequest | RenewalRequest]] = [
    (REQUEST, JoinRequest(NKEY, "i1", "secret", "web-01", "host", {"group": "web"})),
    (RENEWAL, RenewalRequest(NKEY, MACHINE.machine, 1.8e9)),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=600),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.binary(min_size=32, max_size=32) | st.sampled_from([bytes(32), b"\1" + bytes(31)])
"""Among them such as make no secret with any other."""


def opened(purpose: bytes, sealed: Sealed) -> JoinRequest | RenewalRequest | None:
    with contextlib.suppress(Unreadable):
        return (open_request if purpose == REQUEST else open_renewal)(sealed, FLEET)
    return None


def sealed(message: bytes) -> Sealed:
    """Return a message in a box of the machine's."""
    box = _seal(message, MACHINE.keys.private, FLEET.public_key)
    return Sealed(bytes(MACHINE.keys.private.public_key).hex(), box)


def signed(purpose: bytes, body: bytes) -> Sealed:
    """Return a body as a machine sends it, signed by its key."""
    data = _signed_for(purpose, MACHINE.keys.private.public_key, FLEET.public_key) + body
    signature = claims.sign_bytes(MACHINE.keys.seed, data).hex()
    return sealed(purpose + msgspec.json.encode(Signed(msgspec.Raw(body), signature)))


@given(key=KEYS, box=st.binary(max_size=200), text=st.text())
def test_any_box_is_unreadable(key: bytes, box: bytes, text: str) -> None:
    for each in (base64.b64encode(box).decode(), text):
        for purpose in (REQUEST, RENEWAL):
            assert opened(purpose, Sealed(key.hex(), each)) is None


@given(message=st.binary(max_size=200), begins=st.sampled_from([b"", REQUEST, RENEWAL]))
def test_any_bytes_in_a_genuine_box_are_unreadable(message: bytes, begins: bytes) -> None:
    for purpose in (REQUEST, RENEWAL):
        assert opened(purpose, sealed(begins + message)) is None


@given(data=st.data())
def test_whatever_is_signed_is_a_request_of_that_machine_or_unreadable(
    data: st.DataObject,
) -> None:
    purpose, request = data.draw(st.sampled_from(REQUESTS))
    body = msgspec.json.encode(request)
    for _ in range(data.draw(st.integers(0, 3))):
        tree = msgspec.json.decode(body)
        body = put(tree, data.draw(st.sampled_from(list(places(tree)))), data.draw(JSON))
    found = opened(purpose, signed(purpose, body))
    if found is not None:
        assert found.nkey == NKEY
        assert parse_machine_id(machine_of(found.nkey)) == MACHINE.machine
        assert msgspec.convert(msgspec.to_builtins(found), type(found)) == found
