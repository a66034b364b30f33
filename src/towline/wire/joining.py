"""What a machine that comes in and a controller send each other. Pure data.

None of it passes in the clear: see `towline.trust.joining`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from towline.wire.decoding import Decoder
from towline.wire.fields import (
    Encoded,
    Login,
    MachineId,
    Moment,
    Name,
    Signature,
    Text,
)
from towline.wire.member import Nkey

LARGEST = 64 * 1024
"""Bytes of each of these at most."""
MOST_USES = 1000
"""Machines that an invite which counts them lets in at most: it names each of them."""
Key: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""A public key of 32 bytes. Hex has one form for it."""


class Bundle(msgspec.Struct, frozen=True):
    """What new nodes are to trust, signed by the fleet's root key.

    Attributes:
        root: the public half of that key.
        statement: a `Statement` as it was signed, byte by byte.
    """

    root: Key
    statement: Text
    signature: Signature


class Statement(msgspec.Struct, frozen=True):
    """What the root key has signed.

    Attributes:
        enrolment: the X25519 key to which machines that come in send.
    """

    enrolment: Key


class Sealed(msgspec.Struct, frozen=True):
    """A message that only one other key can read, and that only its sender can have written.

    Attributes:
        key: the X25519 key of the machine that comes in, whoever of both sends it.
        box: the message, as base64.
    """

    key: Key
    box: Encoded


class JoinRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a machine sends to come in.

    Attributes:
        nkey: what it will log in with at the broker, the public half.
        invite, secret: the invite; "" for a machine that is in already.
        hostname: what it wants to be called; "" for what the invite says, or else `machine_name`.
        machine_name: what the machine calls itself.
        labels: those it wants beside those of the invite.
    """

    nkey: Nkey
    invite: Name = ""
    secret: Name = ""
    hostname: Name = ""
    machine_name: Name = ""
    labels: dict[Name, Name] = {}


class RenewalRequest(msgspec.Struct, frozen=True):
    """What a node sends whose login has ended.

    Attributes:
        nkey: what it logs in with at the broker, the public half.
        time: when it asks, by its clock.
    """

    nkey: Nkey
    machine: MachineId
    time: Moment


class Signed(msgspec.Struct, frozen=True):
    """A request, and the proof that its sender has the key that it names.

    Attributes:
        body: a `JoinRequest`, or a `RenewalRequest`, byte by byte.
    """

    body: msgspec.Raw
    signature: Signature


class Renewal(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node logs in with and trusts from now on.

    Attributes:
        jwt: its login to the broker, which its own key belongs to.
        ca: the certificates that sign the brokers'; "" where the brokers encrypt nothing.
        jobs: the public keys by which it verifies what controllers send.
    """

    jwt: Login
    ca: Text = ""
    jobs: list[Key] = []


class JoinAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a machine is answered.

    Attributes:
        state: whether it is in, or waits for somebody to let it in.
        fingerprint: of its keys, for whoever lets it in.
        jwt: its login to the broker, which its own key belongs to; "" while it waits.
        ca, jobs: as in `Renewal`.
        brokers: their URLs.
    """

    state: Literal["pending", "accepted"]
    machine: MachineId
    hostname: Name
    fingerprint: Name
    labels: dict[Name, Name] = {}
    jwt: Login = ""
    ca: Text = ""
    brokers: list[Name] = []
    jobs: list[Key] = []

    @property
    def renewal(self) -> Renewal:
        """What of it a node is given anew when it has come in long ago."""
        return Renewal(self.jwt, self.ca, self.jobs)


bundle = Decoder(Bundle, largest=LARGEST)
statement = Decoder(Statement, largest=LARGEST)
sealed = Decoder(Sealed, largest=LARGEST)
signed = Decoder(Signed, largest=LARGEST)
join_request = Decoder(JoinRequest, largest=LARGEST)
renewal_request = Decoder(RenewalRequest, largest=LARGEST)
join_answer = Decoder(JoinAnswer, largest=LARGEST)
