"""Signatures: what controllers send to nodes is signed by them, and believed there for that alone.

Whoever holds the broker may keep back what is sent, delay it and send it again. What each message
is for is signed with it, so that it is worth something in one place only: an order on the subject
that it is sent on, which names the machine and the start of its agent; an answer as that to one
question, which is answered on a subject drawn for it. How old a message may be is for whoever
receives it to say.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.release import Envelope

ORDER, ANSWER, RECORD = b"towline-job-1", b"towline-answer-1", b"towline-record-1"
"""What a signature says that it is for, with the version of what is signed."""
KEY_BYTES = 32
KID_BYTES = 8
"""Of a public key's hash: enough to tell keys apart, which is all that it is for."""
AT_ONCE = 100
"""Messages that are signed by a thread before others have their turn: 6 ms."""
INLINE = 16
"""Messages up to which signing is no work for a thread: it takes a millisecond."""


def order_for(subject: str, reply: str) -> bytes:
    """Return what an order is signed for.

    Args:
        subject: that it is sent on.
        reply: where it is answered; "" for nowhere.
    """
    return b"\0".join((ORDER, subject.encode(), reply.encode(), b""))


def answer_to(subject: str, question: bytes, reply: str) -> bytes:
    """Return what an answer is signed for.

    Args:
        subject: that the question was asked on.
        reply: where it is answered.
    """
    digest = hashlib.blake2b(question, digest_size=32).hexdigest()
    named = (subject.encode(), reply.encode(), digest.encode())
    return b"\0".join((ANSWER, *named, b""))


def stored_on(subject: str) -> bytes:
    """Return what a record is signed for that controllers keep.

    Args:
        subject: that it is stored on.
    """
    return b"\0".join((RECORD, subject.encode(), b""))


def kid_of(public: bytes) -> str:
    """Return by what a message names the key that has signed it."""
    return hashlib.blake2b(public, digest_size=KID_BYTES).hexdigest()


class UnknownKey(Unreadable):
    """A message is signed with a key that is none of those which count here."""


class Signer:
    """Signs with the first of some keys; the others are older ones, which nodes may still know.

    Attributes:
        public: the public halves of all keys, in their order.
        retired: those of keys that have signed earlier, and are worth nothing to nodes any more.

    Args:
        seeds: the secret halves, 32 bytes each.
        retired: see the attribute.
    """

    def __init__(self, seeds: Sequence[bytes], retired: Sequence[bytes] = ()) -> None:
        keys = [SigningKey(seed) for seed in seeds]
        self.public = [bytes(key.verify_key) for key in keys]
        self.retired = list(retired)
        self._signs = (keys[0], kid_of(self.public[0]))

    @property
    def kid(self) -> str:
        """That of the key that signs."""
        return self._signs[1]

    def replace(self, other: Signer) -> None:
        """Use the keys of another one from now on."""
        self._signs, self.public, self.retired = other._signs, other.public, other.retired

    def verifier(self) -> Verifier:
        """Return what verifies whatever these keys have ever signed."""
        return Verifier([*self.public, *self.retired])

    def seal(self, message: msgspec.Struct, purpose: bytes) -> bytes:
        """Return a message in its envelope, as it is sent.

        Args:
            purpose: see `order_for` and `answer_to`.
        """
        body = msgspec.json.encode(message)
        key, kid = self._signs  # both at once: a thread may sign while they are replaced
        signature = key.sign(purpose + body).signature.hex()
        return msgspec.json.encode(Envelope(msgspec.Raw(body), kid, signature))

    async def seal_all(self, wanted: Sequence[tuple[msgspec.Struct, bytes]]) -> list[bytes]:
        """Return what `seal` makes of many, in their order; other work goes on meanwhile."""
        if len(wanted) <= INLINE:
            return self._seal(wanted)
        made: list[bytes] = []
        for begin in range(0, len(wanted), AT_ONCE):
            made += await asyncio.to_thread(self._seal, wanted[begin : begin + AT_ONCE])
        return made

    def _seal(self, wanted: Sequence[tuple[msgspec.Struct, bytes]]) -> list[bytes]:
        return [self.seal(message, purpose) for message, purpose in wanted]


class Verifier:
    """Opens what is signed with one of some keys.

    Args:
        keys: the public halves, 32 bytes each.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys: Mapping[str, VerifyKey] = {kid_of(key): VerifyKey(key) for key in keys}

    @property
    def public(self) -> list[bytes]:
        """The keys."""
        return [bytes(key) for key in self._keys.values()]

    def replace(self, other: Verifier) -> None:
        """Verify by the keys of another one from now on."""
        self._keys = other._keys

    def knows(self, kid: str) -> bool:
        """Return whether a key is one of these."""
        return kid in self._keys

    def open(self, data: bytes, purpose: bytes) -> bytes:
        """Return the body of an envelope.

        Args:
            purpose: what it has to be signed for, see `order_for` and `answer_to`.

        Raises:
            UnknownKey: it is signed by a key that is not known.
            Unreadable: it is no envelope, or not signed for this.
        """
        envelope = messages.envelope(data)
        key = self._keys.get(envelope.kid)
        if key is None:
            raise UnknownKey(
                f"it is signed with the key {envelope.kid or '-'}, and none but "
                f"{', '.join(self._keys)} counts here"
            )
        body = bytes(envelope.body)
        try:
            key.verify(purpose + body, bytes.fromhex(envelope.sig))
        except CryptoError as error:
            raise Unreadable("its signature is of something else") from error
        return body
