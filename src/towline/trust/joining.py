"""How a machine that comes in and a controller speak: sealed to each other, and bound together.

A request is in a box between the machine's own X25519 key and the fleet's, which the root key has
signed: nobody else can read it, and none but the holders of these two keys can have written it. In
the box it is signed by the machine's key for the broker. The answer is in such a box again, and
bound to its request: an answer to another one is none.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TypeVar

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from towline.trust import claims
from towline.wire import joining
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.joining import JoinAnswer, JoinRequest, RenewalRequest, Sealed, Signed
from towline.wire.member import MemberRecord

T = TypeVar("T", JoinRequest, RenewalRequest)

REQUEST, RENEWAL = b"towline-join-1\0", b"towline-renew-1\0"
ANSWER, KEYS = b"towline-joined-1\0", b"towline-keys-1\0"
"""What is in a box, or signed, or hashed, says what it is for, with the version of that."""


def machine_of(nkey: str) -> str:
    """Return the machine id of the machine with a key.

    Who has drawn a key has drawn its machine id, too: no two machines come to the same, and a
    request that comes twice is of one machine.
    """
    return hashlib.sha256(b"towline-machine-1\0" + nkey.encode()).hexdigest()[:32]


def fingerprint(nkey: str, public_key: str) -> str:
    """Return by what people compare the keys of a machine that waits, on both sides."""
    digest = hashlib.sha256(KEYS + f"{nkey} {public_key}".encode()).hexdigest()
    return ":".join(digest[at : at + 4] for at in range(0, 32, 4))


def fingerprint_of(record: MemberRecord) -> str:
    """Return the fingerprint of a machine that is known."""
    return fingerprint(record.nkey, record.public_key)


def seal_request(
    request: JoinRequest | RenewalRequest, seed: str, key: PrivateKey, to: PublicKey
) -> Sealed:
    """Return a request as it is sent.

    Args:
        seed: of the key that the request names.
        key: the machine's.
        to: the fleet's.
    """
    purpose = REQUEST if isinstance(request, JoinRequest) else RENEWAL
    body = msgspec.json.encode(request)
    signature = claims.sign_bytes(seed, _signed_for(purpose, key.public_key, to) + body).hex()
    message = purpose + msgspec.json.encode(Signed(msgspec.Raw(body), signature))
    return Sealed(bytes(key.public_key).hex(), _seal(message, key, to))


def open_request(found: Sealed, key: PrivateKey) -> JoinRequest:
    """Return the request of a machine that wants to come in, as it was sent to a controller.

    Args:
        key: the fleet's.

    Raises:
        Unreadable: it is not for this key, was altered, or is not signed by the key that it names.
    """
    return _open_request(found, key, REQUEST, joining.join_request)


def open_renewal(found: Sealed, key: PrivateKey) -> RenewalRequest:
    """Return the request of a node whose login has ended; as `open_request`."""
    return _open_request(found, key, RENEWAL, joining.renewal_request)


def _open_request(found: Sealed, key: PrivateKey, purpose: bytes, decoder: Decoder[T]) -> T:
    sender = PublicKey(bytes.fromhex(found.key))
    signed = joining.signed.decode(_open(found.box, key, sender, purpose))
    body = bytes(signed.body)
    request = decoder.decode(body)
    data = _signed_for(purpose, sender, key.public_key) + body
    if not claims.has_signed(request.nkey, data, bytes.fromhex(signed.signature)):
        raise Unreadable("it is not signed by the key that it names")
    return request


def seal_answer(answer: JoinAnswer, request: Sealed, key: PrivateKey) -> Sealed:
    """Return the answer to a request as it is sent; `key` is the fleet's."""
    message = ANSWER + _digest(request) + msgspec.json.encode(answer)
    to = PublicKey(bytes.fromhex(request.key))
    return Sealed(request.key, _seal(message, key, to))


def open_answer(found: Sealed, request: Sealed, key: PrivateKey, sender: PublicKey) -> JoinAnswer:
    """Return the answer to a request.

    Args:
        key: the machine's.
        sender: the fleet's.

    Raises:
        Unreadable: it was not sent by the fleet for this request, or was altered.
    """
    if found.key != request.key:
        raise Unreadable("it is for another machine")
    return joining.join_answer.decode(_open(found.box, key, sender, ANSWER + _digest(request)))


def _signed_for(purpose: bytes, machine: PublicKey, fleet: PublicKey) -> bytes:
    return purpose + bytes(machine) + bytes(fleet)


def _digest(request: Sealed) -> bytes:
    return hashlib.sha256(request.box.encode()).digest()


def _seal(message: bytes, key: PrivateKey, to: PublicKey) -> str:
    return base64.b64encode(Box(key, to).encrypt(message)).decode()


def _open(text: str, key: PrivateKey, sender: PublicKey, purpose: bytes) -> bytes:
    try:
        message = Box(key, sender).decrypt(base64.b64decode(text, validate=True))
    except (CryptoError, TypeError, ValueError) as error:
        raise Unreadable("it can't be opened: it was altered, or is for another key") from error
    if not message.startswith(purpose):
        raise Unreadable("it is for something else")
    return message[len(purpose) :]
