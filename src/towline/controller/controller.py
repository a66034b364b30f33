"""The controller: its parts, put together, each with a lifetime of its own."""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from starlette.types import ASGIApp

from towline.broker.connection import Connection
from towline.broker.isolation import check_isolated
from towline.broker.jetstream import JetStream
from towline.broker.journal import Journal
from towline.controller.absences import Absences
from towline.controller.audit.archive import Archive
from towline.controller.audit.trail import Trail
from towline.controller.auth import Authenticator
from towline.controller.budget import Budget
from towline.controller.cooldowns import Cooldowns
from towline.controller.credentials.jobs import JobCredentials
from towline.controller.credentials.store import CredentialStore
from towline.controller.credentials.supplies import Supplies
from towline.controller.ephemeral import Ephemeral
from towline.controller.expulsion import Expulsion
from towline.controller.fleet import Fleet
from towline.controller.health import Health
from towline.controller.http.app import application, bound
from towline.controller.http.audited import Auditor
from towline.controller.http.binding import Binding
from towline.controller.http.documents import document_paths
from towline.controller.http.limits import Callers
from towline.controller.http.server import Server, bind
from towline.controller.images import Images
from towline.controller.invites import Invites
from towline.controller.jobs.feed import Feed
from towline.controller.jobs.idempotency import Keys
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.lists import Lists
from towline.controller.jobs.lookup import Lookup
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.previews import Previews
from towline.controller.jobs.reads import Reads
from towline.controller.jobs.reports import Reports
from towline.controller.jobs.steering import Steering
from towline.controller.jobs.streams import EventStreams
from towline.controller.jobs.submit import Submitter
from towline.controller.jobs.waiting import Waiting
from towline.controller.joining import Joining
from towline.controller.key_kinds import KeyKind, KeyKinds, kinds_of_fleet
from towline.controller.last_signs import LastSigns
from towline.controller.logins import Logins
from towline.controller.members import Members
from towline.controller.node_changes import NodeChanges
from towline.controller.oidc import Issuer
from towline.controller.options import Options, Waits
from towline.controller.presence import Presence
from towline.controller.progress.streams import ProgressStreams
from towline.controller.progress.watches import Watches
from towline.controller.questions import Questions
from towline.controller.registries import AllowedRegistries
from towline.controller.replacing import Replacing
from towline.controller.rollout.decisions import Decisions
from towline.controller.rollout.lease import Lease
from towline.controller.rollout.releases import Releases
from towline.controller.rollout.runner import Runner
from towline.controller.service import Service
from towline.controller.storage import Storage
from towline.controller.tokens import TokenMaker, Tokens
from towline.controller.turns import Turns
from towline.endpoints import offered as of_controllers
from towline.endpoints.operations import endpoint_of
from towline.errors import InvalidConfiguration
from towline.operation import catalog
from towline.runtime.key_watch import KeyFile, KeyFiles
from towline.runtime.part import keep_running
from towline.trust.keys import CA, NODES_SIGNING
from towline.trust.signing import kid_of
from towline.trust.trusted import Trusted, job_keys

CONNECTED_WITHIN, CHECKED_WITHIN = 1.0, 5.0
"""Seconds for which a controller waits, before it says where it answers, for the nodes' broker, and
to find out whether its login there is one that it may use."""


class Controller:
    """The parts of a controller on two connections and one index; a new part is one line here.

    Args:
        broker: the connection to the journal's account.
        nodes: the connection to the nodes' account, where there is no JetStream.
    """

    def __init__(
        self, options: Options, broker: Connection, nodes: Connection, index: Index
    ) -> None:
        self.stopping = asyncio.Event()
        self.jetstream = JetStream(broker, seal=options.seal)
        self.index = index
        self.journal = Journal(self.jetstream)
        self.fleet = Fleet()
        self.members = Members(self.jetstream, self.fleet)
        self.invites = Invites(self.jetstream)
        self._signer = signer = options.signer
        self.budget = Budget()
        self.presence = Presence(
            *(self.fleet, nodes, self.jetstream, signer),
            budget=self.budget,
            interval=options.heartbeat,
            # Whoever can renew nothing asks nobody to have something renewed.
            trusts=lambda: "" if self.joining is None else self._trusts,
            members_known=self.members.known,
        )
        self.trail = Trail(self.jetstream, signer, socket.gethostname(), options.audit)
        self.logins: Logins | None = None
        """None for a broker at which no login can be taken back from here."""
        if options.account is not None:
            login = options.account.changed_with
            system = msgspec.structs.replace(options.nodes, credentials=login)
            self.logins = Logins(self.jetstream, system, options.account)
        able = asyncio.Event()
        self.expulsion = Expulsion(self.presence, self.members, self.logins, self.trail)
        self.absences = Absences(self.fleet, nodes, able)
        self.changes = NodeChanges(self.fleet, self.budget.dropped)
        lease = Lease(self.jetstream, "ephemeral")
        self.ephemeral = Ephemeral(self.fleet, self.members, self.absences, self.expulsion, lease)
        self.signs = LastSigns(self.fleet, self.jetstream, able)
        self.joining: Joining | None = None
        """None where no machine can be let in."""
        if options.trust is not None:
            self.joining = Joining(
                *(options.trust, options.node_brokers, signer),
                *(self.members, self.invites, self.fleet),
                Replacing(self.fleet, self.members, self.absences, self.expulsion),
            )
        self.open = OpenJobs()
        self.indexer = Indexer(self.jetstream, index, self.open, retention=options.retention.age)
        self.waiting = Waiting(self.indexer, self.fleet)
        self.lookup = Lookup(index, self.indexer, self.fleet, self.waiting)
        self.credentials = CredentialStore(self.jetstream, options.vault)
        self.job_credentials = JobCredentials(self.credentials, index, self.indexer)
        self.cooldowns = Cooldowns(self.jetstream, time.time)
        supplies = Supplies(self.credentials, self.fleet.public_key)
        self.releases = Releases(nodes, signer, self.fleet, supplies.of, self.cooldowns.of)
        self.decisions = Decisions(self.journal, self.open, self.indexer)
        self.lease = Lease(self.jetstream, "rollouts")
        self.runner = Runner(
            *(self.open, self.fleet, self.decisions, self.releases, self.lease, able)
        )
        self.reads = Reads(nodes, self.journal, self.fleet, self.releases, self.indexer)
        self.reports = Reports(
            *(nodes, signer, self.journal, index, self.open, self.indexer, self.decisions),
            budget=self.budget,
        )
        self.questions = Questions(
            *(nodes, signer, self.presence, self.fleet, self.open, self.indexer),
            *(self.releases, self.cooldowns, self.budget, self.joining),
        )
        self.service = Service(
            *(broker, nodes, self.indexer, self.presence, able),
            [self.reports.first, self.reports.again, self.questions.listener],
        )
        self.keys = Keys(self.jetstream)
        self.tokens = Tokens(self.jetstream)
        self.archive = Archive(
            *(self.jetstream, index, self.trail),
            *(signer.verifier(), options.audit.age),
        )
        self._offered = [*of_controllers, *(endpoint_of(operation) for operation in catalog)]
        self.issuer = None if options.provider is None else Issuer(options.provider)
        self.authenticator = Authenticator(
            options.keys,
            options.roles,
            {each.permission for each in self._offered if each.permission is not None},
            options.audiences,
            clients=options.clients,
            issuer=self.issuer,
            revoked=self.tokens.is_revoked,
        )
        files = [*options.key_files, *self._of_nodes(options)]
        self.key_files = KeyFiles(files, self._keys_read_again)
        self._trusts = self.trusted.hash
        """The hash of what nodes ought to trust, reckoned once and not for each registration."""
        self.key_kinds = KeyKinds(
            [
                KeyKind("tokens", lambda: [*options.keys.public]),
                KeyKind("credentials", lambda: options.vault.fingerprints),
                KeyKind("jobs", lambda: [kid_of(key) for key in signer.public]),
                *kinds_of_fleet(self.logins, self.joining),
            ],
            *(self.fleet, lambda: self.trusted),
        )
        optional = () if self.logins is None else (self.logins,)
        self.token_maker = TokenMaker(options.keys, self.tokens, self.authenticator)
        self.registries = AllowedRegistries(options.registries)
        self.submitter = Submitter(
            *(self.journal, index, self.open, self.fleet, self.keys, self.job_credentials),
            *(self.waiting, self.lookup, self.runner, self.reads),
            expires=options.expires,
            retention=options.retention.age,
            settled=self.presence.settled,
            check=self.registries.check_job,
            ahead=supplies.ahead,
            known={"wanted": lambda machines: self.images.wanted(machines)},
        )
        self.previews = Previews(self.submitter, self.reads, self.fleet)
        self.steering = Steering(
            *(self.journal, self.indexer, self.decisions, self.waiting, self.lookup)
        )
        self.watches = Watches(nodes, signer, self.indexer, self.lookup, self.fleet)
        self.lists = Lists(index)
        self.images = Images(self, nodes, signer)
        self.health = Health(
            *(self.jetstream, nodes, self.indexer, self.fleet, self.lists, self.trail),
            *(self.budget, self.images.inventories),
        )
        replicas = options.retention.replicas
        self.storage = Storage(
            broker,
            [
                *(
                    functools.partial(part.create, replicas)
                    for part in (
                        *(self.presence, self.keys, self.credentials, self.cooldowns, self.signs),
                        *(self.lease, self.tokens, self.members, self.invites, self.trail),
                        *(*self.images.stored, *optional),
                    )
                ),
                # Last: it takes what room is left.
                functools.partial(self.journal.create, options.retention),
            ],
        )
        turns = Turns()
        self.events = EventStreams(Feed(index), index, self.indexer, turns)
        self.progress = ProgressStreams(self.watches, turns)
        self.waits = Waits(options.wait, options.longest_wait)
        self._limits = options.limits
        self.nodes = nodes

    @property
    def trusted(self) -> Trusted:
        """What every node ought to trust; of a fleet with no keys of its own that of jobs alone."""
        if self.joining is not None:
            return self.joining.trusted
        return Trusted(jobs=job_keys(self._signer.public))

    def _keys_read_again(self) -> None:
        """Tell nodes where they ought to trust something else than before."""
        self.archive.verifier.replace(self._signer.verifier())
        if (trusts := self.trusted.hash) != self._trusts:
            self._trusts = trusts
            self.presence.trust_anew()

    def _of_nodes(self, options: Options) -> list[KeyFile]:
        """Return the files of nodes' login keys and of the brokers' CA, with what uses them."""
        users: dict[Path, list[Logins | Joining]] = {}
        if self.logins is not None and options.account is not None:
            users[options.account.file] = [self.logins]
        if self.joining is not None and options.trust is not None:
            for name in (CA, NODES_SIGNING):
                users.setdefault(options.trust.path(name), []).append(self.joining)

        def read_again(path: Path) -> None:
            for user in users[path]:
                user.read_again()

        return [KeyFile(path, functools.partial(read_again, path)) for path in users]

    def application(self) -> ASGIApp:
        """Return the HTTP application."""
        callers = Callers(self._limits)
        bindings = (Binding(each, self.authenticator, self, callers) for each in self._offered)
        auditor = Auditor(self.trail, self._limits.proxies)
        return application(bound(bindings, document_paths(self._offered)), auditor)

    async def run(self) -> None:
        """Run all parts, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_running("storage", self.storage.run))
            await self.storage.ready.wait()
            for part in (
                *(self.indexer, self.presence, self.cooldowns, self.service, self.runner),
                *(self.reads, self.reports, self.watches, self.job_credentials, self.tokens),
                *(self.members, self.trail, self.archive, self.credentials, self.key_files),
                *(self.absences, self.ephemeral, self.signs, *self.images.running),
            ):
                name = type(part).__name__.lower()
                group.create_task(keep_running(name, part.run))
            if self.issuer is not None:
                group.create_task(keep_running("issuer", self.issuer.run))
            if self.logins is not None:
                group.create_task(keep_running("logins", self.logins.run))

    async def ready(self) -> None:
        """Return once requests can be answered from what the broker and the nodes have said."""
        await self.storage.ready.wait()
        await self.service.able.wait()
        await self.tokens.known.wait()
        await self.signs.known.wait()

    def stop(self) -> None:
        """End the streams of events, and the waits of requests: they would delay the end."""
        self.stopping.set()
        self.waiting.stop()
        self.indexer.pulse.beat()


async def run(
    options: Options, listening: Callable[[str], None], ready: Callable[[], None]
) -> None:
    """Serve until cancelled.

    Args:
        options: the settings.
        listening: called with the URL once requests are accepted.
        ready: called once they can be answered: the broker was reached, what controllers keep
            there exists, the index has caught up with it, and the nodes have been asked who is
            here.

    Raises:
        InvalidConfiguration: where the nodes are, JetStream is too, or the login there is not a
            controller's.
    """
    listener = bind(options.host, options.port)
    with Index(options.index) as index:
        async with (
            Connection(options.broker, "controller") as broker,
            Connection(options.nodes, "controller of nodes") as nodes,
        ):
            controller = Controller(options, broker, nodes, index)
            server = Server(
                *(controller.application(), listener, controller.stop, options.limits),
                options.certificate,
            )
            try:
                async with asyncio.TaskGroup() as group:
                    checked = group.create_task(check_isolated(nodes))
                    parts = group.create_task(_run_checked(controller, checked))
                    starting = group.create_task(_call_when_ready(controller, ready))
                    try:
                        await _first_checked(nodes, checked)
                        listening(server.url)
                        await server.run()
                    finally:
                        for task in (checked, parts, starting):
                            task.cancel()
            except* InvalidConfiguration as refused:
                raise refused.exceptions[0] from None


async def _first_checked(nodes: Connection, checked: asyncio.Task[None]) -> None:
    """Wait for the check of the nodes' login, where the broker is there to answer it."""
    await asyncio.wait({checked}, timeout=CONNECTED_WITHIN)
    if nodes.connected:
        await asyncio.wait({checked}, timeout=CHECKED_WITHIN)


async def _run_checked(controller: Controller, checked: asyncio.Task[None]) -> None:
    await checked
    await controller.run()


async def _call_when_ready(controller: Controller, ready: Callable[[], None]) -> None:
    await controller.ready()
    ready()
