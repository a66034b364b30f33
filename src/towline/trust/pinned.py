"""What new nodes are to trust: a statement of the root key's, and the pin that they know it by.

The root key is on no machine from day to day. So it signs once, when a fleet's keys are made, which
key machines that come in may send to; all else that they need is answered by whoever has that key.
A pin is of the root key and of no certificate: certificates may be anybody's, and change.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import PublicKey
from nacl.signing import SigningKey, VerifyKey

from towline.trust.claims import NotTrusted
from towline.wire import joining
from towline.wire.decoding import Unreadable
from towline.wire.joining import Bundle, Statement

PURPOSE = b"towline-bundle-1\0"
"""What the root key's signature says that it is for, with the version of what is signed."""


def pin_of(root: bytes) -> str:
    """Return by what an invite names a root key: the hash of its public half."""
    return base64.urlsafe_b64encode(hashlib.sha256(root).digest()).decode().rstrip("=")


def sign(root: SigningKey, enrolment: PublicKey) -> Bundle:
    """Return the bundle of a fleet.

    Args:
        enrolment: the key to which machines that come in send.
    """
    statement = msgspec.json.encode(Statement(bytes(enrolment).hex()))
    signature = root.sign(PURPOSE + statement).signature
    return Bundle(bytes(root.verify_key).hex(), statement.decode(), signature.hex())


def read(data: bytes, pin: str) -> PublicKey:
    """Return the key of a bundle to which machines that come in send.

    Raises:
        NotTrusted: it can't be read, is of another root key than the one that is pinned, or is not
            signed by that.
    """
    try:
        found = joining.bundle.decode(data)
    except Unreadable as error:
        raise NotTrusted("What answers there gives no bundle of keys.", str(error)) from error
    root = bytes.fromhex(found.root)
    if not hmac.compare_digest(pin_of(root), pin):
        raise NotTrusted(
            "What answers there is another fleet than the one of this invite, or somebody between "
            "passes itself off as it.",
            f"Its root key's hash is {pin_of(root)}, and the invite names {pin}",
        )
    statement = found.statement.encode()
    try:
        VerifyKey(root).verify(PURPOSE + statement, bytes.fromhex(found.signature))
        return PublicKey(bytes.fromhex(joining.statement.decode(statement).enrolment))
    except (CryptoError, Unreadable) as error:
        raise NotTrusted(
            "The fleet's bundle of keys is not signed by its root key.", str(error)
        ) from error
