"""How a machine comes in: with one line, by which it knows the fleet, and the fleet knows it.

Nothing is written before the fleet has let the machine in, and the secret of the invite is sent to
none but the fleet whose root key the line names. Certificates have no part in that: whoever is
between machine and controller sees and alters nothing.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec
from nacl.public import PublicKey

from towline.errors import InvalidConfiguration, TowlineError
from towline.trust import claims, identity, pinned
from towline.trust.claims import NotTrusted
from towline.trust.identity import Identity, Keys
from towline.trust.joining import fingerprint, machine_of, open_answer, seal_request
from towline.wire import joining
from towline.wire.decoding import Unreadable
from towline.wire.joining import JoinAnswer, JoinRequest, Renewal, RenewalRequest, Sealed

ASK_EVERY = 5.0
"""Seconds between questions whether somebody has let this machine in."""
RETRY_EVERY = 1.0
ATTEMPTS = 5
"""Attempts at a request that nobody answers, and seconds between them."""
ANSWER_WITHIN = 30.0
RENEWED_WITHIN = 5.0
"""Seconds for an answer: somebody waits at the one, an agent that is to stop at the other."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class NotLetIn(TowlineError):
    """The machine is not let in."""


class Invite(msgspec.Struct, frozen=True):
    """What the line of an invite says."""

    url: str
    id: str
    secret: str
    pin: str


def read_line(line: str) -> Invite:
    """Return what a line says that `towline node invite` has printed: the whole, or its end.

    Raises:
        InvalidConfiguration: it is none.
    """
    words = line.split()
    url, token = words[-2:] if len(words) >= 2 else ("", "")
    form, *parts = token.split(".")
    if form != "twl1" or len(parts) != 3 or not all(parts) or not token.isascii():
        raise InvalidConfiguration(
            "This is no invite.", "Copy the whole line that towline node invite printed"
        )
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo:
        raise InvalidConfiguration(
            "The controller's URL is not valid.", "Write https://HOST:PORT, as the invite has it"
        )
    return Invite(url.rstrip("/"), *parts)


def join(
    state: Path,
    line: str,
    *,
    hostname: str | None,
    labels: Mapping[str, str],
    show: Callable[[str], None],
    ask_every: float = ASK_EVERY,
    retry_every: float = RETRY_EVERY,
) -> Identity:
    """Come in by an invite, and keep in the state directory what the fleet has answered.

    Args:
        line: see `read_line`.
        hostname: what the node is to be called; None for what invite or machine say.
        labels: those that the node is to carry beside those of the invite.
        show: called with what somebody should know who waits.
        ask_every, retry_every: seconds; see the constants.

    Raises:
        InvalidConfiguration: the line is no invite, or the state directory has an identity.
        NotTrusted: what answers there is not the fleet that the invite is of.
        NotLetIn: the fleet doesn't let the machine in, or nobody answers.
    """
    invite = read_line(line)
    if identity.exists(state):
        raise InvalidConfiguration(
            f"This machine is a node already: {str(state / identity.DIRECTORY)!r} says which.",
            "Move that away to let it come in anew, or name another directory with --state",
        )
    # The bundle's signature and the boxes vouch for what comes, whoever the connection is with.
    with httpx.Client(base_url=invite.url, verify=False, timeout=ANSWER_WITHIN) as client:
        fleet = pinned.read(_asked(client, "GET", "/join", None, ATTEMPTS, retry_every), invite.pin)
        keys = Keys()
        request = JoinRequest(
            keys.nkey,
            invite.id,
            invite.secret,
            hostname or "",
            socket.gethostname(),
            dict(labels),
        )
        sealed = seal_request(request, keys.seed, keys.private, fleet)
        waits = False
        while True:
            data = _asked(client, "POST", "/join", sealed, ATTEMPTS, retry_every)
            answer = _opened(data, sealed, keys, fleet)
            if answer.state == "accepted":
                break
            if not waits:
                shown = fingerprint(keys.nkey, keys.public_key)
                show(f"{answer.hostname} waits to be let in; its fingerprint is {shown}")
                show(f"Let it in with: towline node approve {answer.hostname}")
            waits = True
            time.sleep(ask_every)
    _check(answer, keys)
    brokers = [_reached(url, invite.url) for url in answer.brokers]
    return identity.keep(state, keys, answer, brokers, controller=invite.url, pin=invite.pin)


def _check(answer: JoinAnswer, keys: Keys) -> None:
    """Raise `NotTrusted` where an answer would make this machine no node."""
    login, _ = claims.read(answer.jwt, claims.User)
    named = (login.sub, login.name, answer.machine)
    if named != (keys.nkey, answer.machine, machine_of(keys.nkey)):
        raise NotTrusted("The login that was answered is another machine's.")
    if not answer.brokers or not answer.jobs:
        raise NotTrusted("The answer names no brokers, or no keys of controllers.")


def renew(found: Identity) -> Renewal:
    """Return a new login, and what else is to be trusted, from the controller a node came in at.

    It is for a node that doesn't reach the controllers over the broker any more, or doesn't believe
    them.

    It is asked once.

    Raises:
        NotTrusted: what answers there is not the fleet that this node is of.
        NotLetIn: the fleet gives it none, or nobody answers.
        InvalidConfiguration: a key of the identity can't be read.
        OSError: the login can't be read.
    """
    keys, node = found.keys(), found.node
    with httpx.Client(base_url=node.controller, verify=False, timeout=RENEWED_WITHIN) as client:
        fleet = pinned.read(_asked(client, "GET", "/join", None), node.pin)
        request = RenewalRequest(keys.nkey, node.machine, time.time())
        sealed = seal_request(request, keys.seed, keys.private, fleet)
        answer = _opened(_asked(client, "POST", "/agent/renew", sealed), sealed, keys, fleet)
    _check(answer, keys)
    return answer.renewal


def _opened(data: bytes, request: Sealed, keys: Keys, fleet: PublicKey) -> JoinAnswer:
    """Return the answer to a request; raises `NotTrusted`."""
    try:
        return open_answer(joining.sealed.decode(data), request, keys.private, fleet)
    except Unreadable as error:
        raise NotTrusted("The answer is not the fleet's.", str(error)) from error


def _asked(
    client: httpx.Client,
    method: str,
    path: str,
    body: Sealed | None,
    attempts: int = 1,
    retry_every: float = RETRY_EVERY,
) -> bytes:
    """Return what is answered at a path.

    Raises:
        NotLetIn: an error is answered, or nothing after some attempts.
    """
    content = None if body is None else msgspec.json.encode(body)
    headers = {} if body is None else {"Content-Type": "application/json"}
    for attempt in range(attempts):
        if attempt:
            time.sleep(retry_every)
        try:
            with client.stream(method, path, content=content, headers=headers) as response:
                data = b""
                for part in response.iter_bytes():
                    data += part
                    if len(data) > joining.LARGEST:
                        raise NotLetIn("What answers there is no controller: it says too much.")
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            continue
        if response.is_success:
            return data
        reason = _reason(response.status_code, data)
        if response.status_code not in (429, 500, 502, 503, 504):
            raise NotLetIn(reason)
    raise NotLetIn(f"{client.base_url} does not let this machine in: {reason}")


class _Error(msgspec.Struct):
    error: str
    details: str = ""


def _reason(status: int, data: bytes) -> str:
    try:
        found = msgspec.json.decode(data, type=_Error)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return f"it answers {status}"
    return f"{found.error} {found.details}".strip()[:1000]


def _reached(url: str, controller: str) -> str:
    """Return the URL of a broker as this machine reaches it.

    A controller that has its broker beside it reaches that on loopback; this machine reaches it
    where it reaches the controller.
    """
    parts, host = urlsplit(url), urlsplit(controller).hostname or ""
    if parts.scheme != "tls" or parts.hostname not in _LOOPBACK or host in _LOOPBACK:
        return url
    shown = f"[{host}]" if ":" in host else host
    return urlunsplit(parts._replace(netloc=f"{shown}:{parts.port or 4222}"))
