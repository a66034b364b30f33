"""A key of the tests' controllers, and what is signed with it."""

from pathlib import Path

import msgspec
from nacl.signing import SigningKey

from towline.runtime.state_directory import keep_private
from towline.trust.job_keys import JOBS_KEY, JOBS_PUBLIC, publish
from towline.trust.signing import Signer, Verifier, order_for
from towline.wire import messages
from towline.wire.release import Envelope, Order

SEED, OTHER_SEED = bytes(range(32)), bytes(range(1, 33))
SIGNER, VERIFIER = Signer([SEED]), Verifier(Signer([SEED]).public)
STRANGER = Signer([OTHER_SEED])
"""Signs with a key that no agent of the tests knows."""


def sealed(order: Order, subject: str, reply: str = "", *, by: Signer = SIGNER) -> bytes:
    """Return an order as a controller sends it on a subject."""
    return by.seal(order, order_for(subject, reply))


def signed(body: bytes, purpose: bytes) -> bytes:
    """Return any bytes in an envelope, signed; they need not be what anybody can read."""
    signature = SigningKey(SEED).sign(purpose + body).signature.hex()
    return msgspec.json.encode(Envelope(msgspec.Raw(body), SIGNER.kid, signature))


def opened(data: bytes) -> bytes:
    """Return what is in an envelope, whoever has signed it."""
    return bytes(messages.envelope(data).body)


def write_keys(directory: Path) -> tuple[Path, Path]:
    """Return the file with the key of the tests' controllers, and the one for agents."""
    secret = directory / JOBS_KEY
    keep_private(secret, SEED.hex() + "\n")
    publish(SIGNER, directory)
    return secret, directory / JOBS_PUBLIC
