"""`/join` and `/invite`: how machines come in, and the invites that they come by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from msgspec import Meta

from towline.endpoint import Context, endpoint
from towline.endpoints.fields import DateTime, MachineId, Message, NodeName, View, target
from towline.endpoints.nodes import READS, WRITES
from towline.errors import Conflict, InvalidRequest
from towline.signature import Check, Flag, Query
from towline.units import parse_duration, timestamp
from towline.wire.joining import LARGEST, MOST_USES, Bundle, Key, Sealed
from towline.wire.target import Hostname, InvalidTarget, parse_hostname, parse_label

if TYPE_CHECKING:
    from towline.controller.invites import Invite
    from towline.controller.joining import Joining

UNLIMITED = "unlimited"
LONGEST_EXPIRY = 30 * 86400.0
"""Seconds: for longer no invite lasts."""
SHORTEST_AWAY = 60.0
"""Seconds that every node may be away: to be started anew, or to find another broker."""


def _uses(text: str) -> None:
    if text != UNLIMITED and not (
        text.isascii() and text.isdigit() and len(text) < 5 and 0 < int(text) <= MOST_USES
    ):
        raise ValueError(f"{text[:20]!r} is neither {UNLIMITED} nor a number from 1 to {MOST_USES}")


def _duration(text: str) -> None:
    parse_duration(text)


def _away(text: str) -> None:
    if parse_duration(text) < SHORTEST_AWAY:
        raise ValueError(f"{text[:20]!r} is too short: write 1m, or longer")


Texts: TypeAlias = Annotated[list[str], Meta(max_length=100)]
Fingerprint: TypeAlias = Annotated[str, Meta(max_length=255)]
InviteId: TypeAlias = Annotated[
    str, Meta(pattern="^[0-9a-f]{16}$", description="The invite's id."), Flag("INVITE")
]
SenderKey: TypeAlias = Annotated[
    Key, Meta(description="The machine's X25519 key.", examples=["1f" * 32])
]
Box: TypeAlias = Annotated[
    str, Meta(max_length=LARGEST, description="Its request, sealed to the fleet's key.")
]


class InviteView(View, frozen=True, kw_only=True):
    """An invite; never its secret."""

    id: str
    state: Annotated[str, Meta(description="open, or why it lets nobody in any more.")]
    created_at: DateTime
    created_by: str
    expires_at: DateTime
    uses: Annotated[int | None, Meta(description="How many it lets in; absent for any number.")] = (
        None
    )
    used: Annotated[int, Meta(description="How many it has let in, where it counts them.")] = 0
    hostname: str | None = None
    labels: dict[str, str] = {}  # noqa: RUF012
    allowed_labels: list[str] = []  # noqa: RUF012
    approve: bool = False
    ephemeral: Annotated[
        float | None,
        Meta(description="Seconds for which its nodes may be away; absent for any time."),
    ] = None
    replace: bool = False


class NewInvite(InviteView, frozen=True, kw_only=True):
    """An invite that was just made."""

    token: Annotated[
        str, Meta(description="What the machine needs beside a controller's URL; shown once.")
    ]


class InvitePage(View, frozen=True, kw_only=True):
    """The invites that there are, the newest first."""

    invites: list[InviteView]
    total: int


@endpoint("join.bundle", "GET /join", open=True, errors=(409,), command=None)
async def bundle(context: Context) -> Bundle:
    """What a machine that comes in trusts first, signed by the fleet's root key."""
    return _joining(context).bundle


@endpoint(
    "join.join",
    "POST /join",
    open=True,
    errors=(400, 403, 409, 429, 500),
    command=None,
    typed="agent join",
)
async def join(
    context: Context,
    *,
    key: SenderKey,
    box: Box,
) -> Sealed:
    """Let a machine in by an invite, which `towline agent join` asks for.

    The request and its answer are sealed. To ask again is answered as before; a machine that waits
    to be let in asks until it is.
    """
    return await _joining(context).join(Sealed(key, box))


@endpoint(
    "agent.renew", "POST /agent/renew", open=True, errors=(400, 403, 409, 429, 500), command=None
)
async def renew(
    context: Context,
    *,
    key: SenderKey,
    box: Box,
) -> Sealed:
    """Give a node a new login that was away until its own had ended.

    Its agent asks by itself. The request is sealed as that of `POST /join`, and not older than a
    minute.
    """
    return await _joining(context).renew(Sealed(key, box))


@endpoint(
    "invite.create",
    "POST /invite",
    permission=WRITES,
    success=(201,),
    errors=(409,),
    command=None,
    typed="node invite",
)
async def create(
    context: Context,
    *,
    hostname: Annotated[
        str | None, Meta(description="What the node is called; else it has its machine's name.")
    ] = None,
    labels: Annotated[
        Texts | None, Meta(description="What its nodes carry.", examples=[["group:web"]])
    ] = None,
    allow_labels: Annotated[
        Texts | None,
        Meta(description="Patterns of labels that a machine itself may choose: zone:*."),
    ] = None,
    expires: Annotated[
        str, Meta(description="How long it may be used, 30d at most."), Check(_duration)
    ] = "1h",
    uses: Annotated[
        str, Meta(description="How many machines may use it, or unlimited."), Check(_uses)
    ] = "1",
    approve: Annotated[bool, Meta(description="Whether somebody has to let each node in.")] = False,
    ephemeral: Annotated[
        str | None,
        Meta(
            description="Its nodes are removed when they have been away for so long, 1m at least."
        ),
        Check(_away),
    ] = None,
    replace: Annotated[
        bool,
        Meta(
            description="Whether a machine takes the name of one that is away and came by it, too."
        ),
    ] = False,
) -> NewInvite:
    """Make an invite, by which a machine becomes a node."""
    joining = _joining(context)
    lasts = parse_duration(expires)
    if lasts > LONGEST_EXPIRY:
        raise InvalidRequest("An invite lasts for 30d at most.", "Ask for a shorter time")
    if hostname is not None and uses != "1" and not replace:
        raise InvalidRequest(
            "One hostname is for one machine.", "Leave out hostname, or uses; or add replace"
        )
    if replace and uses == "1":
        raise InvalidRequest(
            "An invite for one machine lets none take its place.",
            "Say with uses how many may come in, or unlimited",
        )
    if replace and approve:
        raise InvalidRequest(
            "A machine would take a name before anybody has let it in.",
            "Leave out replace, or approve",
        )
    invite, token = await joining.invite(
        context.caller.subject,
        lasts,
        uses=None if uses == UNLIMITED else int(uses),
        hostname=_hostname(hostname),
        labels=_labels(labels or []),
        allowed=_patterns(allow_labels or []),
        approve=approve,
        ephemeral=None if ephemeral is None else parse_duration(ephemeral),
        replace=replace,
    )
    return NewInvite(**_fields(invite), token=token)


@endpoint("invite.list", "GET /invite", permission=READS, command="node invites")
async def list_invites(context: Context) -> InvitePage:
    """The invites that there are, the newest first."""
    found = [InviteView(**_fields(each)) for each in await context.controller.invites.all()]
    return InvitePage(invites=found, total=len(found))


@endpoint(
    "invite.withdraw",
    "DELETE /invite/{id}",
    permission=WRITES,
    success=(200,),
    errors=(404,),
    command="node withdraw",
)
async def withdraw(context: Context, *, id: InviteId) -> InviteView:
    """Let no machine in any more by an invite; those that are in stay."""
    return InviteView(**_fields(await context.controller.invites.withdraw(id)))


class PendingAgent(View, frozen=True, kw_only=True):
    """A machine that waits to be let in."""

    machine_id: MachineId
    hostname: Annotated[str, Meta(description="What it is called once it is in.")]
    fingerprint: Annotated[str, Meta(description="Of its keys: the machine itself shows it, too.")]
    requested_at: DateTime


class PendingAgents(View, frozen=True, kw_only=True):
    """The machines that wait to be let in, the first first."""

    agents: list[PendingAgent]
    total: int


@endpoint("agent.pending", "GET /agent/pending", permission=READS, command="node pending")
async def list_pending(context: Context) -> PendingAgents:
    """The machines that wait to be let in, the first first."""
    found = [
        PendingAgent(
            machine_id=record.machine,
            hostname=record.hostname,
            fingerprint=context.controller.members.fingerprint(record),
            requested_at=timestamp(record.created),
        )
        for record in context.controller.members.pending()
    ]
    return PendingAgents(agents=found, total=len(found))


@endpoint(
    "agent.accept",
    "POST /agent/{hostname}/accept",
    permission=WRITES,
    errors=(404,),
    command="node approve",
)
async def accept(
    context: Context,
    *,
    hostname: NodeName,
    fingerprint: Annotated[
        Fingerprint | None,
        Query,
        Meta(description="What the machine shows; another one is refused."),
        Flag("FINGERPRINT"),
    ] = None,
) -> Message:
    """Let a machine in that waits."""
    members, by = context.controller.members, context.caller.subject
    record = await members.decide(_one(hostname), "accepted", by, fingerprint)
    shown = members.fingerprint(record)
    return Message(message=f"{record.hostname} is let in; its fingerprint is {shown}.")


@endpoint(
    "agent.reject",
    "POST /agent/{hostname}/reject",
    permission=WRITES,
    errors=(404,),
    command="node reject",
)
async def reject(context: Context, *, hostname: NodeName) -> Message:
    """Turn a machine away that waits: its name is free, and it has to come in anew."""
    record = await context.controller.members.decide(
        _one(hostname), "rejected", context.caller.subject
    )
    return Message(message=f"{record.hostname} is turned away.")


def _one(name: str) -> str:
    """Return the name of one machine; raises `InvalidRequest`."""
    named = target(name)
    if not isinstance(named, Hostname):
        raise InvalidRequest(
            f"{str(named)!r} is not one machine: name it by its hostname or its machine id.",
            "GET /agent/pending shows those that wait",
        )
    return named.name


def _joining(context: Context) -> Joining:
    joining = context.controller.joining
    if joining is None:
        raise Conflict(
            "This controller can let no machine in: it has no trust directory, or one of an "
            "earlier version.",
            "Start it with the keys that towline trust init makes",
        )
    return joining


def _hostname(text: str | None) -> str:
    if text is None:
        return ""
    try:
        return parse_hostname(text).name
    except InvalidTarget as error:
        raise InvalidRequest.because("The hostname is not valid", error) from error


def _labels(texts: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in texts:
        try:
            label = parse_label(text)
        except InvalidTarget as error:
            raise InvalidRequest.because("A label is not valid", error) from error
        if label.key in labels:
            raise InvalidRequest(f"The label {label.key!r} is given twice.", "Leave one out")
        labels[label.key] = label.value
    return labels


def _patterns(texts: list[str]) -> list[str]:
    for text in texts:
        key, colon, _ = text.partition(":")
        visible = text.isascii() and text.isprintable() and " " not in text
        if not key or not colon or "*" in key or not visible:
            raise InvalidRequest(
                f"{text[:80]!r} is no pattern of labels.", "Write KEY:*, or KEY:eu.*"
            )
    return texts


def _fields(invite: Invite) -> dict[str, Any]:
    return {
        "id": invite.id,
        "state": invite.ended or "open",
        "created_at": timestamp(invite.created),
        "created_by": invite.by,
        "expires_at": timestamp(invite.expires),
        "uses": invite.uses,
        "used": len(invite.takers),
        "hostname": invite.hostname or None,
        "labels": invite.labels,
        "allowed_labels": invite.allowed,
        "approve": invite.approve,
        "ephemeral": invite.ephemeral,
        "replace": invite.replace,
    }
