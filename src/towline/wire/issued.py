"""What a node asks controllers for credentials, and what it is answered. Pure data."""

from __future__ import annotations

import msgspec

from towline.wire.credential import Credential

QUESTIONS = "credentials.*"
"""The subjects of all nodes' questions."""


class Question(msgspec.Struct, frozen=True):
    """What a node asks: the credential for the registry that a job's image is in."""

    job: str


class Issued(msgspec.Struct, frozen=True):
    """What is sealed to a node.

    Attributes:
        own: whether the job's request brought it; otherwise it is kept for the registry.
    """

    job: str
    registry: str
    credential: Credential
    own: bool


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node is answered; nothing at all where no credential is kept.

    Attributes:
        sealed: an `Issued`, that only the node can read.
        error: why there is no answer to the question.
        again: whether another controller, or the same a moment later, may know one.
    """

    sealed: str = ""
    error: str = ""
    again: bool = False


def question_subject(machine: str) -> str:
    """Return the subject on which a node asks controllers for credentials."""
    return f"credentials.{machine}"
