"""Members: the nodes that came in by an invite, as controllers keep them. Pure data."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from towline.wire.fields import MachineId, Moment, Name, Seconds, Text

PENDING: Final = "pending"
ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
REVOKED: Final = "revoked"
REMOVED: Final = "removed"
MemberState: TypeAlias = Literal["pending", "accepted", "rejected", "revoked", "removed"]
NAMELESS = (REJECTED, REMOVED)
"""States in which a member's hostname is free for others."""

Nkey: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^U[A-Z2-7]{55}\Z")]
"""The public half of a user's key at the broker."""


class MemberRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node that came in by an invite: hostname and labels are what stands here.

    Attributes:
        machine: the machine id, which controllers drew for it.
        nkey: what it logs in with at the broker, the public half.
        public_key: what is sealed to it only the node can read: X25519, as base64.
        hostname: no two members have the same; upper and lower case are the same in it.
        labels: `key: value`, the value a dotted path.
        allowed: patterns of the labels that the node itself may choose, such as `zone:*`.
        invite: the id of the invite that it came by.
        state: `pending` until somebody accepts or rejects it; `removed` for one that is forgotten.
        created: when it came, in seconds since 1970.
        by: who made the invite.
        changed, changed_by: when the record became what it is, and by whom.
        ephemeral: seconds for which it may be away before it is removed; None for any time.
        replaces: the machine id of the node whose name it took as it came in; that is removed.
        left: when it was here last, of an ephemeral node that is away; None for one that is here.
    """

    machine: MachineId
    nkey: Nkey
    public_key: Name
    hostname: Name
    state: MemberState
    invite: Name
    created: Moment
    by: Text
    changed: Moment
    changed_by: Text = ""
    labels: dict[Name, Name] = {}
    allowed: list[Name] = []
    ephemeral: Seconds | None = None
    replaces: MachineId | None = None
    left: Moment | None = None
