"""Every message that reaches a part, decoded in one place: a value, or `Unreadable`.

What fields must look like stands in their types (`fields.py`); what only the subject knows, or two
fields together, is looked at here. The machine is the subject's, never the body's.
"""

from __future__ import annotations

import msgspec

from towline.wire import event as events
from towline.wire.decoding import DEEPEST, Decoder, Unreadable
from towline.wire.event import Event
from towline.wire.fields import Name, Text
from towline.wire.inventory import Inventory
from towline.wire.job import Job
from towline.wire.member import MemberRecord
from towline.wire.node import MOST_NAMED, Heartbeat, Registration
from towline.wire.progress import TaskProgress
from towline.wire.release import BeatNow, Cancellation, Envelope, Order, Recount, Refresh, Release
from towline.wire.report import (
    LARGEST_REPORT,
    Answer,
    CooldownQuestion,
    Receipt,
    TaskQuestion,
)
from towline.wire.subjects import machine_of
from towline.wire.target import InvalidTarget, parse_hostname, parse_label

SMALL = 64 * 1024
"""Bytes of a heartbeat, a registration, a question or a receipt at most."""
AROUND = DEEPEST + 8
"""Levels of what jobs and events are sent or stored in, at most: each of those fits, however deep
it is itself."""
LARGEST_INVENTORY = 512 * 1024
"""Bytes of a part of an inventory at most; one as it usually is has some 150 kB."""
MOST_IN_GROUP = 4095
"""Jobs and events of a message of the journal at most: each has a place in it, of 12 bits."""

_TAKEN = events.OF_STREAMS | events.DECISIONS | events.REPORTS
"""Names that no step has."""

_order: Decoder[Order] = Decoder(Order, deepest=AROUND)  # type: ignore[arg-type]
_envelope = Decoder(Envelope, deepest=AROUND)
_report = Decoder(Event, largest=LARGEST_REPORT)
_heartbeat = Decoder(Heartbeat, largest=SMALL)
_registration = Decoder(Registration, largest=SMALL)
_progress = Decoder(TaskProgress, largest=LARGEST_REPORT)
_inventory = Decoder(Inventory, largest=LARGEST_INVENTORY)
_task_question = Decoder(TaskQuestion, largest=SMALL)
_cooldown_question = Decoder(CooldownQuestion, largest=SMALL)
_receipt = Decoder(Receipt, largest=SMALL)
_answer = Decoder(Answer, deepest=AROUND)
_job = Decoder(Job)
_event = Decoder(Event)
_group = Decoder(list[Event], deepest=AROUND)


class _Found(msgspec.Struct):
    """The data of a `led` event; every node of the job is sent it."""

    value: Text
    hostname: Name


# What nodes receive


def envelope(data: bytes) -> Envelope:
    """Return the envelope of whatever a node was sent; its body is not looked at.

    Raises:
        Unreadable: it can't be read.
    """
    return _envelope.decode(data)


def order(body: bytes, machine: str) -> Order:
    """Return what a node was sent.

    Args:
        body: of the envelope.
        machine: the node's own.

    Raises:
        Unreadable: it can't be read, or is for another machine.
    """
    found = _order.decode(body)
    if not isinstance(found, BeatNow):
        _check_order(found, machine)
    return found


def _check_order(found: Release | Cancellation | Refresh | Recount, machine: str) -> None:
    if found.machine != machine:
        raise Unreadable("it is for another machine")
    if isinstance(found, Release) and found.job is not None and found.job.id != found.id:
        raise Unreadable("it names two jobs")


def receipt(body: bytes, machine: str) -> Receipt:
    """Return the answer to a report; as `order` otherwise."""
    return _receipt.decode(body)


def answer(body: bytes, machine: str) -> Answer:
    """Return the answer to a question; as `order` otherwise."""
    found = _answer.decode(body)
    if found.release is not None:
        _check_order(found.release, machine)
    return found


# What controllers receive


def report(subject: str, data: bytes) -> Event:
    """Return what a node reports of a task.

    Raises:
        Unreadable: it can't be read, names another machine, or says what only controllers say.
    """
    found = _report.decode(data)
    machine = machine_of(subject)
    if found.machine != machine:
        raise Unreadable("it names another machine")
    if found.kind in events.DECISIONS and found.kind != events.LED:
        raise Unreadable(f"{found.kind!r} is a decision, and controllers make those")
    if found.kind in events.OF_STREAMS or found.step in _TAKEN:
        # Streams show a step by its name: one that is called "end" would end them for all.
        raise Unreadable("it is called as what is said of whole jobs")
    if found.nodes is not None:
        raise Unreadable("it names nodes, as decisions do")
    _check_lead(found)
    return found


def _check_lead(found: Event) -> None:
    """Raise `Unreadable` where an event says what was found, and nodes could not read that."""
    if found.kind == events.LED:
        try:
            msgspec.convert(found.data, _Found)
        except msgspec.ValidationError as error:
            raise Unreadable(f"what was found can't be read: {error}") from error


def heartbeat(subject: str, data: bytes) -> tuple[str, Heartbeat]:
    """Return whose heartbeat it is, and the heartbeat; raises as `report`."""
    found = _heartbeat.decode(data)
    if len(found.tasks) % 16 or len(found.tasks) > 16 * MOST_NAMED:
        raise Unreadable("its tasks are no ids")
    return machine_of(subject), found


def registration(subject: str, data: bytes) -> Registration:
    """Return what a node says that it is; raises as `report`."""
    found = _registration.decode(data)
    if found.machine != machine_of(subject):
        raise Unreadable("it names another machine")
    return checked(found)


def checked(found: Registration) -> Registration:
    """Return a registration whose hostname and labels are such; raises as `report`."""
    _check_names(found)
    return found


def checked_member(found: MemberRecord) -> MemberRecord:
    """Return a member's record whose hostname and labels are such; raises as `report`."""
    _check_names(found)
    return found


def _check_names(found: Registration | MemberRecord) -> None:
    try:
        parse_hostname(found.hostname)
        for key, value in found.labels.items():
            parse_label(f"{key}:{value}")
    except InvalidTarget as error:
        raise Unreadable(str(error)) from error


def progress(subject: str, data: bytes) -> tuple[str, TaskProgress]:
    """Return whose progress it is, and the progress; raises as `report`."""
    return machine_of(subject), _progress.decode(data)


def inventory(subject: str, data: bytes) -> tuple[str, Inventory]:
    """Return whose inventory it is, and the inventory, or a part or change of it; raises as
    `report`."""
    found = _inventory.decode(data)
    if found.part >= found.parts:
        raise Unreadable("it is a part behind the last")
    if found.base and found.parts > 1:
        raise Unreadable("it is a change in several parts, and changes have one")
    if not found.base and found.gone:
        raise Unreadable("it is whole, and names what is gone")
    return machine_of(subject), found


def task_question(data: bytes) -> TaskQuestion:
    """Return a question for a task; raises as `report`."""
    return _task_question.decode(data)


def cooldown_question(data: bytes) -> CooldownQuestion:
    """Return a question about a cooldown; raises as `report`."""
    return _cooldown_question.decode(data)


# What stands in the journal


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """A read that was answered, or what came of one later.

    Attributes:
        job: the job; None where it was recorded before.
        events: how it ended on nodes.
    """

    job: Job | None = None
    events: list[Event] = []


_answered = Decoder(list[Answered], deepest=AROUND)


def job(data: bytes) -> Job:
    """Return a job that was stored; raises as `report`."""
    return _job.decode(data)


def decision(data: bytes) -> Event:
    """Return a decision that was stored; raises as `report`."""
    found = _event.decode(data)
    if found.machine != events.NOBODY:
        raise Unreadable("it is of a node, and no decision")
    _check_lead(found)
    return found


def group(data: bytes) -> list[Event]:
    """Return reports that were stored together; raises as `report`."""
    found = _group.decode(data)
    _check_places(len(found))
    if any(each.machine == events.NOBODY for each in found):
        raise Unreadable("it has a decision among its reports")
    return found


def answered(data: bytes) -> list[Answered]:
    """Return reads that were recorded together; raises as `report`."""
    found = _answered.decode(data)
    _check_places(sum((each.job is not None) + len(each.events) for each in found))
    return found


def _check_places(count: int) -> None:
    if count > MOST_IN_GROUP:
        raise Unreadable(f"it has more than {MOST_IN_GROUP} jobs and events")
