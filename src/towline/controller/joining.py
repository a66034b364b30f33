"""How machines come in: an invite is taken, and what a node needs is answered."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import Any

import structlog

from towline.controller.fleet import Fleet
from towline.controller.invites import Invite, Invites, digest_of, new_secret, token_of
from towline.controller.members import Members, lasts_of
from towline.controller.replacing import Replacing
from towline.errors import Conflict, Forbidden, InvalidConfiguration, InvalidRequest
from towline.trust import keys
from towline.trust.certificates import check_certificates
from towline.trust.joining import (
    fingerprint_of,
    machine_of,
    open_renewal,
    open_request,
    seal_answer,
)
from towline.trust.keys import Trust, node_jwt
from towline.trust.pinned import pin_of
from towline.trust.signing import Signer
from towline.trust.trusted import Trusted, job_keys
from towline.wire.decoding import Unreadable
from towline.wire.joining import JoinAnswer, JoinRequest, Renewal, Sealed
from towline.wire.member import ACCEPTED, PENDING, MemberRecord
from towline.wire.target import InvalidTarget, parse_hostname, parse_label
from towline.wire.wildcard import matches

log = structlog.get_logger()

MOST_UNSEEN = 500
"""Ephemeral nodes of one invite at a time that have never registered. Each is removed later, and
its login kept as taken back for two days: whoever has the invite could fill that record."""
FRESH_FOR = 60.0
"""Seconds by which the time in a request for a new login may differ from this machine's."""


class Joining:
    """Lets machines in that have an invite.

    Attributes:
        bundle: what they trust first.
        authorities: the certificates of the brokers' CA, as PEM.

    Args:
        trust: has the keys.
        brokers: the URLs that nodes are given.
        signer: signs what they are sent.

    Raises:
        InvalidConfiguration: a key is not here, or can't be read.
    """

    def __init__(
        self,
        trust: Trust,
        brokers: Sequence[str],
        signer: Signer,
        members: Members,
        invites: Invites,
        fleet: Fleet,
        replacing: Replacing,
    ) -> None:
        self._trust = trust
        self._key = trust.enrolment()
        self._brokers = list(brokers)
        self._encrypted = any(not url.startswith("nats://") for url in brokers)
        self._account = trust.account(keys.NODES_JWT)[0].sub
        self.read_again()
        self._signer = signer
        self._members = members
        self._invites = invites
        self._fleet = fleet
        self._replacing = replacing
        self.bundle = trust.bundle()
        self._pin = pin_of(bytes.fromhex(self.bundle.root))

    def read_again(self) -> None:
        """Read again what nodes are given beside the keys of the signer.

        Raises:
            InvalidConfiguration: it can't be read; what was read before goes on to count.
        """
        text, logins = self._trust.read(keys.CA), self._trust.login_keys()
        try:
            check_certificates(text)
        except ValueError as error:
            raise InvalidConfiguration(
                f"The CA in {str(self._trust.path(keys.CA))!r} can't be used.", str(error)
            ) from error
        self.authorities, self._logins = text, logins

    @property
    def _ca(self) -> str:
        return self.authorities if self._encrypted else ""

    @property
    def trusted(self) -> Trusted:
        """What every node ought to trust by now."""
        return Trusted(self._ca, job_keys(self._signer.public), self._logins.public[0])

    async def invite(self, by: str, lasts: float, **given: Any) -> tuple[Invite, str]:
        """Make an invite; return it, and what is given to a machine.

        Args:
            by: who asks for it.
            lasts: seconds.
            given: further attributes of the invite.

        Raises:
            TowlineError: there are too many, or it may or may not be stored.
        """
        id, secret = new_secret()
        now = time.time()
        invite = Invite(id, digest_of(secret), now, now + lasts, by, **given)
        await self._invites.add(invite)
        log.info("invite made", invite=id, by=by)
        return invite, token_of(id, secret, self._pin)

    async def join(self, sealed: Sealed) -> Sealed:
        """Return the answer to a machine that wants to come in, or to one that is in.

        It is the same for a request that comes again: its answer may have been lost.

        Raises:
            InvalidRequest: it can't be read, was altered, or names what is none.
            Forbidden: it has no invite for that, or was turned away before.
            Conflict: another node has the name.
            BrokerError: the machine may or may not be in.
        """
        try:
            request = open_request(sealed, self._key)
        except Unreadable as error:
            raise InvalidRequest.because("The request can't be read", error) from error
        await self._members.until_known()
        machine = machine_of(request.nkey)
        public_key = base64.b64encode(bytes.fromhex(sealed.key)).decode()
        record = self._members.get(machine)
        if record is None:
            record = await self._admit(request, machine, public_key)
        return seal_answer(self._answer(record, public_key), sealed, self._key)

    async def renew(self, sealed: Sealed) -> Sealed:
        """Return the answer to a node whose login has ended: what `join` answers one that is in.

        Raises:
            InvalidRequest: it can't be read, was altered, or is not of this minute.
            Forbidden: it is no node, or was shut out.
            BrokerUnreachable: this controller does not know yet which nodes there are.
        """
        try:
            request = open_renewal(sealed, self._key)
        except Unreadable as error:
            raise InvalidRequest.because("The request can't be read", error) from error
        if abs(time.time() - request.time) > FRESH_FOR:
            raise InvalidRequest(
                "The request is not of this minute, by the controller's clock.",
                "Set this machine's clock",
            )
        await self._members.until_known()
        record = self._members.get(request.machine)
        if record is None or record.nkey != request.nkey or record.state == PENDING:
            raise Forbidden("This machine is no node of this fleet.", "Let it come in by an invite")
        public_key = base64.b64encode(bytes.fromhex(sealed.key)).decode()
        answer = self._answer(record, public_key)
        log.info("ended login renewed", machine=record.machine, hostname=record.hostname)
        return seal_answer(answer, sealed, self._key)

    async def _admit(self, request: JoinRequest, machine: str, public_key: str) -> MemberRecord:
        if not request.invite:
            raise Forbidden("This machine is no node of this fleet.", "Let it come in by an invite")
        invite = await self._invites.check(request.invite, request.secret, request.nkey)
        hostname, labels = _hostname(invite, request), _labels(invite, request)
        taken = self._members.named(hostname)
        replaced = self._replacing.find(taken, invite)
        free = taken is None or replaced is not None
        others = [machine, *([] if replaced is None else [replaced.machine])]
        if not free or self._fleet.names_another(hostname, *others):
            raise Conflict(
                f"Another node is called {hostname!r}.",
                "Name this one with --hostname, or choose another name in the invite; towline node "
                "remove frees the name of one that never came, or comes no more",
            )
        self._check_unseen(invite)
        await self._invites.take(invite.id, request.nkey)
        now = time.time()
        record = MemberRecord(
            machine,
            request.nkey,
            public_key,
            hostname,
            PENDING if invite.approve else ACCEPTED,
            invite.id,
            created=now,
            by=invite.by,
            changed=now,
            labels=labels,
            allowed=invite.allowed,
            ephemeral=invite.ephemeral,
        )
        if replaced is not None:
            # While the invite was taken it may have come back.
            replaced = self._replacing.find(self._members.named(hostname), invite)
        if replaced is None:
            stored = await self._members.add(record)
        else:
            stored = await self._replacing.replace(replaced, record)
        log.info(
            "node came in" if stored.state == ACCEPTED else "node waits to be let in",
            machine=machine,
            hostname=hostname,
            invite=invite.id,
        )
        return stored

    def _check_unseen(self, invite: Invite) -> None:
        """Raise `Conflict` where too many have come in by an invite that were never here."""
        if invite.ephemeral is None:
            return
        unseen = [
            each
            for each in self._members.ephemeral()
            if each.invite == invite.id and self._fleet.get(each.machine) is None
        ]
        if len(unseen) >= MOST_UNSEEN:
            raise Conflict(
                f"{MOST_UNSEEN} machines have come in by this invite whose agents have never "
                "registered, as many as may at a time.",
                "Start their agents, remove them, or take another invite; they are removed by "
                "themselves when their time is over",
            )

    def _answer(self, record: MemberRecord, public_key: str) -> JoinAnswer:
        if record.public_key != public_key:
            raise Forbidden("This machine came in with another key.", "Let it come in anew")
        if record.state != PENDING and record.state != ACCEPTED:
            raise Forbidden(
                f"This machine was {record.state} here.", "Let it come in anew, by a new invite"
            )
        shown = fingerprint_of(record)
        if record.state == PENDING:
            return JoinAnswer(PENDING, record.machine, record.hostname, shown, record.labels)
        renewal = self._renewal(record)
        return JoinAnswer(
            ACCEPTED,
            record.machine,
            record.hostname,
            shown,
            record.labels,
            *(renewal.jwt, renewal.ca, self._brokers, renewal.jobs),
        )

    async def renewed(self, machine: str) -> Renewal:
        """Return a new login of a node, whose broker login says which it is, and what it trusts.

        Raises:
            Forbidden: it did not come in by an invite, or is not in any more.
            BrokerUnreachable: this controller does not know yet which nodes there are.
        """
        await self._members.until_known()
        record = self._members.get(machine)
        if record is None:
            raise Forbidden("This node did not come in by an invite.")
        if record.state != ACCEPTED:
            raise Forbidden(f"This node is not in: it is {record.state}.")
        log.info("login renewed", machine=machine, hostname=record.hostname)
        return self._renewal(record)

    def _renewal(self, record: MemberRecord) -> Renewal:
        jwt = node_jwt(
            *(self._account, self._logins.first, record.machine, record.nkey),
            lasts_of(record),
        )
        return Renewal(jwt, self._ca, [key.hex() for key in self._signer.public])


def _hostname(invite: Invite, request: JoinRequest) -> str:
    wanted = request.hostname
    if invite.hostname:
        if wanted and wanted.lower() != invite.hostname.lower():
            raise Forbidden(
                f"The invite is for a node called {invite.hostname!r}, and not {wanted!r}.",
                "Leave --hostname out, or ask for another invite",
            )
        return invite.hostname
    try:
        return parse_hostname(wanted or request.machine_name).name
    except InvalidTarget as error:
        raise InvalidRequest.because(
            "The node can't be called so", error, "Name it with --hostname"
        ) from error


def _labels(invite: Invite, request: JoinRequest) -> dict[str, str]:
    for key, value in request.labels.items():
        text = f"{key}:{value}"
        try:
            parse_label(text)
        except InvalidTarget as error:
            raise InvalidRequest.because("A label is not valid", error) from error
        given = invite.labels.get(key)
        allowed = given is None and any(matches(each, text) for each in invite.allowed)
        if given != value and not allowed:
            raise Forbidden(
                f"The invite doesn't give the label {text!r}.",
                "Leave it out, or ask for an invite with --label or --allow-label for it",
            )
    return {**invite.labels, **request.labels}
