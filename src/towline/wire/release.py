"""What controllers send to nodes: each message in an envelope, on the node's own subject."""

from __future__ import annotations

import msgspec

from towline.wire.cooldown import Cooldown
from towline.wire.credential import Supply
from towline.wire.event import Lead
from towline.wire.fields import JobId, MachineId, Moment, Name, Seconds, Signature, Text
from towline.wire.job import Job

FACTS = "facts"
"""The parameters refer to facts of the node."""

UNDERSTOOD = frozenset({FACTS})
"""What this version understands of that which a release may say that an agent must understand."""


class Release(msgspec.Struct, frozen=True, omit_defaults=True, tag="release", tag_field="kind"):
    """A task is given to its node, with all that the node needs for it.

    Attributes:
        job: the job, without its plan; None where it is too large to be sent to every node: then
            the node asks for it.
        id: the job's id.
        machine: whose task it is.
        time: by the controllers' clock; nodes measure `expires` by it.
        expires: past which moment the node doesn't begin it.
        leave: whether the node must ask before it begins.
        leads: whether the node goes first, and reports what it finds for all others.
        lead: what the lead has found.
        supply: the credential, sealed to the node; None where none is kept.
        cooldown: that what it needs is to be left alone for a while.
        needs: what the agent must understand; one that doesn't skips the task.
    """

    id: JobId
    machine: MachineId
    time: Moment
    expires: Moment
    job: Job | None = None
    leave: bool = False
    leads: bool = False
    lead: Lead | None = None
    supply: Supply | None = None
    cooldown: Cooldown | None = None
    needs: list[Name] = []


class Cancellation(msgspec.Struct, frozen=True, omit_defaults=True, tag="cancel", tag_field="kind"):
    """A task is to be stopped; one that the node doesn't know is recorded as cancelled.

    Attributes:
        id: the job's id.
        caller: who wants that.
        time: by the controllers' clock.
        created, expires: the job's.
    """

    id: JobId
    machine: MachineId
    caller: Text
    time: Moment
    created: Moment
    expires: Moment


class BeatNow(msgspec.Struct, frozen=True, omit_defaults=True, tag="beat", tag_field="kind"):
    """All nodes, or one start of an agent, are to send a heartbeat now.

    Attributes:
        time: by the controllers' clock.
        interval: from now on so many seconds lie between a node's heartbeats.
        spread: seconds over which the nodes spread the first one.
        trusts: what every node ought to trust by now, see `towline.trust.trusted`; "" where that is
            not said.
        renew_within: seconds over which the nodes spread that they ask for what they lack of that.
    """

    time: Moment
    interval: Seconds
    spread: Seconds = 0.0
    trusts: Name = ""
    renew_within: Seconds = 0.0


class Refresh(msgspec.Struct, frozen=True, omit_defaults=True, tag="progress", tag_field="kind"):
    """A node is to send the progress of a task now.

    Attributes:
        id: the job's id.
    """

    id: JobId
    machine: MachineId
    time: Moment


class Recount(msgspec.Struct, frozen=True, omit_defaults=True, tag="inventory", tag_field="kind"):
    """A node is to send all that it has now: its whole inventory."""

    machine: MachineId
    time: Moment


Order = Release | Cancellation | BeatNow | Refresh | Recount
"""What a node may be sent."""


class Envelope(msgspec.Struct, frozen=True):
    """What every message to a node is in; see `towline.trust.signing`.

    Attributes:
        body: an `Order`, a `Receipt` or an `Answer`, as the bytes that are signed.
        kid: which key has signed it.
        sig: the signature.
    """

    body: msgspec.Raw
    kid: Name
    sig: Signature
