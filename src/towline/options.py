"""How a job is carried out, whatever it does: each option is one field.

From a field come the query parameter or header of the API, its place in the API's description, the
client's keyword argument and the command line's flag.
"""

from __future__ import annotations

import functools
import math
from typing import Annotated

from msgspec import Meta

from towline.errors import InvalidRequest
from towline.signature import Check, Flag, Header, Options
from towline.units import parse_duration
from towline.wire.credential import Credential, InvalidCredential, of_header
from towline.wire.rollout import CANARY, MAX_FAILURES, MAX_PARALLEL, read_share

PREFER = "Prefer"
LONGEST_KEY = 255
LONGEST_REGISTRY_AUTH = 16 * 1024
REGISTRY_AUTH = (
    "Send base64url of JSON, as the Docker Engine API has it: "
    '{"username": "…", "password": "…"} or {"identitytoken": "…"}'
)

MOST_PREFERENCES = 20
"""Preferences of a request that are looked at; there are five kinds of them (RFC 7240)."""
_SHARE = {"type": "string", "pattern": "^[0-9]+%?$"}


class Preference:
    """What `Prefer` asks for (RFC 7240); what can't be understood is ignored, as the RFC asks.

    Attributes:
        asynchronous: whether it names `respond-async`.
        seconds: those of `wait`; None where it names none.

    Args:
        lines: the header's.
    """

    def __init__(self, lines: list[str]) -> None:
        self.asynchronous = False
        self.seconds: int | None = None
        for part in ",".join(lines).split(",", MOST_PREFERENCES)[:MOST_PREFERENCES]:
            name, _, value = (word.strip() for word in part.partition(";")[0].partition("="))
            value = value.removeprefix('"').removesuffix('"')
            if name.lower() == "respond-async":
                self.asynchronous = True
            elif (
                name.lower() == "wait"
                # The first one counts where a preference stands there twice (section 2).
                and self.seconds is None
                and value.isascii()
                and value.isdigit()
                and len(value) < 10
            ):
                self.seconds = int(value)

    @property
    def wait(self) -> float | None:
        """Seconds to wait; None where the header says nothing.

        `respond-async` alone asks for the answer at once; with `wait`, in whatever order they
        stand, for the answer after so many seconds at most.
        """
        if self.seconds is not None:
            return float(self.seconds)
        return 0.0 if self.asynchronous else None

    def applied(self, wait: float) -> str:
        """Return the value of `Preference-Applied` for an answer after `wait` seconds at most."""
        applied = ["respond-async"] if self.asynchronous else []
        if self.seconds is not None:
            applied.append(f"wait={int(wait)}")
        return ", ".join(applied)


def _wait(lines: list[str]) -> float | None:
    return Preference(lines).wait


def _write_wait(seconds: float) -> str:
    return f"wait={math.ceil(seconds)}" if seconds else "respond-async"


def _key(lines: list[str]) -> str:
    key = lines[0].strip()
    if (
        len(lines) > 1
        or not 0 < len(key) <= LONGEST_KEY
        or not (key.isascii() and key.isprintable())
    ):
        raise ValueError(f"send one, of 1 to {LONGEST_KEY} printable ASCII characters")
    return key


def _registry_auth(lines: list[str]) -> str:
    if len(lines) > 1:
        raise ValueError("it stands there twice")
    if len(lines[0]) > LONGEST_REGISTRY_AUTH:
        raise ValueError(f"it is longer than {LONGEST_REGISTRY_AUTH} characters")
    return lines[0]


def _write_credential(credential: Credential | str) -> str:
    return credential if isinstance(credential, str) else credential.header


def _share(name: str, value: int | str) -> None:
    read_share(name, str(value))


class Waiting(Options, frozen=True, kw_only=True):
    """How long a request waits for its nodes.

    Attributes:
        wait: seconds, at most; None for what the controller is configured to.
    """

    wait: Annotated[
        float | None,
        Header(PREFER, read=_wait, write=_write_wait),
        Meta(description="RFC 7240: wait=N (seconds), respond-async, or both."),
        Flag(hidden=True),
    ] = None


class RunOptions(Waiting, frozen=True, kw_only=True):
    """How a job is carried out.

    Attributes:
        expires: within how long each node must begin, `30s` or `12h`; None for the controller's
            own default.
        max_parallel: how many nodes run the job at a time: a number, or a percentage of its nodes,
            `"10%"`.
        canary: how many nodes run it first, alone; as `max_parallel`.
        max_failures: how many nodes may fail; as `max_parallel`. When more have failed, those that
            wait for their turn are cancelled.
        idempotency_key: the same key with the same request means the same job, for a day; a UUID
            of version 7 is the job's id.
    """

    expires: Annotated[
        str | None,
        Meta(
            description="Within how long each node must begin the job: 30s, 5m, 12h, 7d.",
            extra_json_schema={"pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)?$"},
        ),
        Check(parse_duration),
        Flag("DURATION"),
    ] = None
    max_parallel: Annotated[
        int | str | None,
        Meta(
            description="How many nodes run the job at a time: a number, or a percentage of them, "
            "10%. For several nodes.",
            extra_json_schema=_SHARE,
        ),
        Check(functools.partial(_share, MAX_PARALLEL)),
        Flag("N|N%"),
    ] = None
    canary: Annotated[
        int | str | None,
        Meta(
            description="How many nodes run the job first, alone: the others wait until these have "
            "ended. Unless `max_failures` is given, none follows once one of these has failed.",
            extra_json_schema=_SHARE,
        ),
        Check(functools.partial(_share, CANARY)),
        Flag("N|N%"),
    ] = None
    max_failures: Annotated[
        int | str | None,
        Meta(
            description="How many nodes may fail; if more do, those that wait are cancelled. Only "
            "beside `max_parallel` or `canary`.",
            extra_json_schema=_SHARE,
        ),
        Check(functools.partial(_share, MAX_FAILURES)),
        Flag("N|N%"),
    ] = None
    idempotency_key: Annotated[
        str | None,
        Header(
            "Idempotency-Key",
            read=_key,
            schema={"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
            mend="A UUID, for example",
        ),
        Meta(
            description="The same key with the same request means the same job, for a day. A UUID "
            "of version 7 becomes the job's id."
        ),
        Flag("KEY"),
    ] = None


class JobOptions(RunOptions, frozen=True, kw_only=True):
    """The same, for operations that log in somewhere.

    Attributes:
        credential: for the image's registry, in place of the one that is kept: as an object, or as
            the header `X-Registry-Auth` has it. It is never shown.
    """

    credential: Annotated[
        Credential | str | None,
        Header(
            "X-Registry-Auth",
            read=_registry_auth,
            write=_write_credential,
            schema={"type": "string", "pattern": "^[A-Za-z0-9+/_-]*=*$"},
            mend=REGISTRY_AUTH,
        ),
        Meta(
            description="The credential for the image's registry, in place of the one that is "
            "kept: base64url of JSON, as the Docker Engine API has it, with username and password, "
            "or identitytoken."
        ),
        Flag(hidden=True),
    ] = None

    def credential_for(self, place: str | None) -> Credential | None:
        """Return what a request brings for a place; None where it brings nothing.

        Args:
            place: the registry that the operation logs in to; None where only nodes will know it.

        Raises:
            InvalidRequest: it can't be read, or is for another place; nothing of it is repeated.
        """
        given = self.credential
        if given is None:
            return None
        if place is None:
            raise InvalidRequest(
                "The header X-Registry-Auth is for no registry: which one it is, only the node's "
                "facts say.",
                "Name the registry without a reference to a fact",
            )
        try:
            return given if isinstance(given, Credential) else of_header(given, place)
        except InvalidCredential as error:
            raise InvalidRequest.because(
                "The header X-Registry-Auth is not valid", error, REGISTRY_AUTH
            ) from error
