"""The subjects on which controllers and nodes send and receive, and those of the journal.

A node publishes on its own subjects only, and receives what is for it on one of its own: whose
message it is says the subject, never the message.
"""

from __future__ import annotations

from towline.wire.decoding import Unreadable
from towline.wire.target import InvalidTarget, parse_machine_id

CONTROLLERS = "controllers"
"""The queue group of all controllers: one of them receives each message."""

ALL_NODES = "task._all"
"""Where all nodes are asked for a heartbeat; nothing else is ever sent there."""
REPORTS = "report.*"
REPORTS_AGAIN = "report.*.again"
HEARTBEATS = "beat.*"
INVENTORIES = "inventory.*"
QUESTIONS = "ask.*.*"
REGISTER, TASK, COOLDOWN, RENEW = "register", "task", "cooldown", "renew"
"""What nodes ask about."""


def task_subject(machine: str, start: str) -> str:
    """Return the subject of what is sent to one start of a node's agent."""
    return f"task.{machine}.{start}"


def report_subject(machine: str, *, again: bool = False) -> str:
    """Return the subject of a node's reports; of one that was not answered, every controller's."""
    return f"report.{machine}.again" if again else f"report.{machine}"


def heartbeat_subject(machine: str) -> str:
    """Return the subject of a node's heartbeats."""
    return f"beat.{machine}"


def question_subject(machine: str, about: str) -> str:
    """Return the subject of a node's questions about something."""
    return f"ask.{machine}.{about}"


def inventory_subject(machine: str) -> str:
    """Return the subject on which a node says what it has."""
    return f"inventory.{machine}"


def progress_subject(machine: str, job: str) -> str:
    """Return the subject of a node's progress with its share of a job; `*` for every node's."""
    return f"progress.{machine}.{job}"


def answer_subject(controller: str, machine: str) -> str:
    """Return the subject on which one node answers what one controller reads.

    It is the same for all reads: a server keeps in memory, for each connection, hundreds of the
    subjects that are published on.
    """
    return f"answer.{controller}.{machine}"


def inbox_prefix(machine: str) -> str:
    """Return what the subjects begin with on which a node is answered, without the last dot."""
    return f"_INBOX.{machine}"


def machine_of(subject: str) -> str:
    """Return whose message it is that came on a subject.

    Raises:
        Unreadable: the subject names no machine id.
    """
    tokens = subject.split(".")
    try:
        return parse_machine_id(tokens[1] if len(tokens) > 1 else "")
    except InvalidTarget as error:
        raise Unreadable(str(error)) from error


# The journal

REPORTED = "report"
"""The subject of groups of reports."""
READ = "read"
"""The subject of groups of reads that were answered."""


def job_subject(job_id: str) -> str:
    """Return the subject of a job; `*` for all."""
    return f"job.{job_id}"


def decision_subject(job_id: str) -> str:
    """Return the subject of all decisions about a job, one after another; `*` for all."""
    return f"decision.{job_id}"
