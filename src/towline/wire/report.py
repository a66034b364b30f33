"""What controllers answer nodes: receipts of reports, and answers to questions."""

from __future__ import annotations

import msgspec

from towline.wire.cooldown import Cooldown
from towline.wire.event import Lead
from towline.wire.fields import JobId, Moment, Name, Seconds, Text
from towline.wire.joining import Renewal
from towline.wire.release import Release

STORED = "stored"
AGAIN = "again"
"""It could not be stored just now: the node reports it again."""
REFUSED = "refused"
"""It will never be stored: the node reports it no more."""

LARGEST_REPORT = 256 * 1024
"""Bytes of a report at most; an operation whose result is larger has failed."""


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a report.

    Attributes:
        status: one of the constants above.
        time: by the controllers' clock.
        reason: why it isn't stored.
        leave: whether the task may begin, for one that has to ask.
        over: whether the task has ended for the controllers: then it is not to begin, or go on.
        lead: what the job's lead is now, for a node that has reported what it found.
    """

    status: Name
    time: Moment
    reason: Text = ""
    leave: bool = False
    over: bool = False
    lead: Lead | None = None


class TaskQuestion(msgspec.Struct, frozen=True):
    """A node asks for its task anew, on `ask.M.task`: with what is in force by now.

    Attributes:
        job: the job's id.
    """

    job: JobId


class CooldownQuestion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node has been refused for too many requests, on `ask.M.cooldown`.

    Attributes:
        job: for which it asked; where that is, the job says.
        known: when the last cooldown began that the node knew of when it asked; None for none.
        reason: in the words of whoever refused.
        asked: seconds that it wants to be left alone; None where it doesn't say.
    """

    job: JobId
    reason: Text
    known: Moment | None = None
    asked: Seconds | None = None


class RenewalQuestion(msgspec.Struct, frozen=True):
    """A node asks for a new login and all that it is to trust, on `ask.M.renew`.

    Which node it is the subject says.
    """


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a question.

    Attributes:
        time: by the controllers' clock.
        release: for a question for a task.
        cooldown: the one that is in force, for a question about one.
        interval: seconds between heartbeats, for a registration.
        trusts: what the node ought to trust, for a registration; see `towline.trust.trusted`.
        renewal: a new login, and what else the node is to trust, where it asks for that.
        error: why there is no answer.
        again: whether another controller, or the same a moment later, may know one.
        second: whether it is an agent with the identity of another that is here.
    """

    time: Moment
    release: Release | None = None
    cooldown: Cooldown | None = None
    interval: Seconds | None = None
    trusts: Name = ""
    renewal: Renewal | None = None
    error: Text = ""
    again: bool = False
    second: bool = False
