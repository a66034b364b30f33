"""`/agent/{hostname}`: which nodes there are, and what these are called, as people decide it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from towline.endpoint import Context, endpoint
from towline.endpoints.fields import Message, NodeName, target
from towline.endpoints.nodes import WRITES, AgentView, view
from towline.errors import Conflict, InvalidRequest
from towline.signature import Flag
from towline.wire.target import Hostname, InvalidTarget, parse_hostname, parse_label

if TYPE_CHECKING:
    from towline.controller.member import Member
    from towline.wire.member import MemberRecord

TAKE_AWAY = "-"
"""In place of a label's value: the label is taken away."""
_LATER = " The broker does not answer: it is shut out as soon as one has it."


@endpoint(
    "agent.revoke",
    "POST /agent/{hostname}/revoke",
    permission=WRITES,
    errors=(404, 409),
    command="node revoke",
)
async def revoke(context: Context, *, hostname: NodeName) -> Message:
    """Shut a node out for good: within a second its login and its keys are worth nothing.

    Its open tasks end as cancelled. It stays in the list until it is removed.
    """
    member = _member(context, hostname)
    dropped = await context.controller.expulsion.revoke(member, context.caller.subject)
    return Message(message=f"{member.hostname} is revoked.{'' if dropped else _LATER}")


@endpoint(
    "agent.remove",
    "DELETE /agent/{hostname}",
    permission=WRITES,
    success=(200,),
    errors=(404, 409),
    command="node remove",
)
async def remove(context: Context, *, hostname: NodeName) -> Message:
    """Forget a node, and shut it out. Its open tasks end as cancelled, its name is free.

    The machine can come in anew, by an invite or with a login that is made after this.
    """
    member = _member(context, hostname)
    dropped = await context.controller.expulsion.remove(member, context.caller.subject)
    return Message(message=f"{member.hostname} is removed.{'' if dropped else _LATER}")


@endpoint(
    "agent.label",
    "POST /agent/{hostname}/label",
    permission=WRITES,
    errors=(404, 409),
    command="node label",
)
async def label(
    context: Context,
    *,
    hostname: NodeName,
    labels: Annotated[
        list[str],
        Meta(
            min_length=1,
            max_length=100,
            description="KEY:VALUE to give a label, KEY:- to take one away.",
            examples=[["group:web", "zone:-"]],
        ),
        Flag("KEY:VALUE..."),
    ],
) -> AgentView:
    """Give a node labels (KEY:VALUE), or take them away (KEY:-)."""
    changes = _changes(labels)
    member = _invited(context, hostname)

    def alter(record: MemberRecord) -> MemberRecord:
        found = {**record.labels, **changes}
        kept = {key: value for key, value in found.items() if value != TAKE_AWAY}
        return _altered(context, record, labels=kept)

    await context.controller.members.change(member.machine, alter)
    return _shown(context, member)


@endpoint(
    "agent.rename",
    "POST /agent/{hostname}/rename",
    permission=WRITES,
    errors=(404, 409),
    command="node rename",
)
async def rename(
    context: Context,
    *,
    hostname: NodeName,
    name: Annotated[
        str, Meta(description="What it is called from now on.", examples=["web-02"]), Flag("NEW")
    ],
) -> AgentView:
    """Call a node something else. No other node may be called so."""
    try:
        wanted = parse_hostname(name).name
    except InvalidTarget as error:
        raise InvalidRequest.because("The name is not valid", error) from error
    member = _invited(context, hostname)
    if context.controller.fleet.names_another(wanted, member.machine):
        raise Conflict(
            f"Another node is called {wanted!r}.",
            "Choose another name, or remove that node; GET /agent shows them",
        )
    await context.controller.members.change(
        member.machine, lambda record: _altered(context, record, hostname=wanted)
    )
    return _shown(context, member)


def _member(context: Context, hostname: str) -> Member:
    named = target(hostname)
    if not isinstance(named, Hostname):
        raise InvalidRequest(
            f"{str(named)!r} is not one node: name it by its hostname or its machine id.",
            "GET /agent shows those that are registered",
        )
    controller = context.controller
    unseen = controller.members.unseen(named.name)
    return unseen or controller.fleet.one(named.name, context.caller.seen)


def _invited(context: Context, hostname: str) -> Member:
    """Return a node of which controllers say what it is called and which labels it carries."""
    member = _member(context, hostname)
    if context.controller.members.get(member.machine) is None:
        raise Conflict(
            f"{member.hostname} came by no invite: its name and labels are those that its agent is "
            "started with, by --hostname and --label.",
            "Start its agent with others, or let it come in by an invite: towline node invite",
        )
    return member


def _changes(texts: list[str]) -> dict[str, str]:
    changes: dict[str, str] = {}
    for text in texts:
        key, _, value = text.partition(":")
        try:
            # A value of its own stands for the one that takes the label away.
            parsed = parse_label(f"{key}:x" if value == TAKE_AWAY else text)
        except InvalidTarget as error:
            raise InvalidRequest.because("A label is not valid", error) from error
        if parsed.key in changes:
            raise InvalidRequest(f"The label {parsed.key!r} is given twice.", "Leave one out")
        changes[parsed.key] = TAKE_AWAY if value == TAKE_AWAY else parsed.value
    return changes


def _altered(context: Context, record: MemberRecord, **fields: object) -> MemberRecord:
    if record.state != "accepted":
        raise Conflict(
            f"{record.hostname} is {record.state}: it stays as it is.",
            "Only a node that is let in is labelled and renamed",
        )
    if all(getattr(record, name) == value for name, value in fields.items()):
        return record
    return msgspec.structs.replace(
        record, changed=time.time(), changed_by=context.caller.subject, **fields
    )


def _shown(context: Context, member: Member) -> AgentView:
    dropped = context.controller.budget.dropped[member.machine]
    return view(context.controller.fleet.get(member.machine) or member, dropped)
