"""The controller: its parts, put together, each with a lifetime of its own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path

import msgspec
from starlette.types import ASGIApp

from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.journal import Journal, Retention
from towline.broker.settings import Settings
from towline.controller.auth import Authenticator
from towline.controller.cooldowns import cooldown_bucket
from towline.controller.credentials.issuer import Issuer
from towline.controller.credentials.jobs import JobCredentials
from towline.controller.credentials.store import CredentialStore
from towline.controller.fleet import Fleet
from towline.controller.http.app import application
from towline.controller.http.endpoints.documents import Documents
from towline.controller.http.endpoints.health import Health
from towline.controller.http.endpoints.jobs import Jobs
from towline.controller.http.endpoints.nodes import Nodes
from towline.controller.http.endpoints.operations import Operations
from towline.controller.http.endpoints.registries import RegistryCredentials
from towline.controller.http.endpoints.streams import Streams
from towline.controller.http.preferences import Waits
from towline.controller.http.server import Server, bind
from towline.controller.jobs.feed import Feed
from towline.controller.jobs.idempotency import Keys
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.lists import Lists
from towline.controller.jobs.lookup import Lookup
from towline.controller.jobs.steering import Steering
from towline.controller.jobs.submit import Submitter
from towline.controller.jobs.waiting import Waiting
from towline.controller.progress.watches import Watches
from towline.controller.rollout.decisions import Decisions
from towline.controller.rollout.lease import Lease
from towline.controller.rollout.runner import Runner
from towline.controller.storage import Storage
from towline.operation import catalog
from towline.runtime.keys import Vault

LOOK_EVERY = 0.05
"""Seconds between looks whether the index has caught up, at the start."""


class Options(msgspec.Struct, frozen=True):
    """The settings of a controller.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        broker: where the broker is, and how to log in there.
        index: the file of the index.
        key: signs tokens.
        vault: locks the credentials that are kept.
        roles: permissions by the name of a custom role.
        wait, longest_wait: seconds that a request waits for its nodes, and may ask to.
        expires: seconds within which a job that is kept for nodes that are away must be begun.
        retention: how long and how much the journal keeps.
    """

    host: str
    port: int
    broker: Settings
    index: Path
    key: bytes
    vault: Vault
    roles: dict[str, list[str]]
    wait: float
    longest_wait: float
    expires: float
    retention: Retention


class Controller:
    """The parts of a controller on one connection and one index; a new part is one line here."""

    def __init__(self, options: Options, jetstream: JetStream, index: Index) -> None:
        self.stopping = asyncio.Event()
        connection = jetstream.connection
        self.jetstream = jetstream
        self.index = index
        self.journal = Journal(jetstream)
        self.fleet = Fleet(jetstream)
        self.indexer = Indexer(jetstream, index, retention=options.retention.age)
        self.waiting = Waiting(self.indexer, self.fleet)
        self.lookup = Lookup(index, self.indexer, self.fleet, self.waiting)
        self.credentials = CredentialStore(jetstream, options.vault)
        self.job_credentials = JobCredentials(self.credentials, index, self.indexer)
        self.issuer = Issuer(connection, index, self.fleet, self.indexer, self.credentials)
        self.keys = Keys(jetstream)
        self.submitter = Submitter(
            *(self.journal, index, self.fleet, self.keys, self.job_credentials),
            *(self.waiting, self.lookup),
            expires=options.expires,
        )
        self.decisions = Decisions(self.journal, index, self.fleet, self.indexer)
        self.lease = Lease(jetstream, "waves")
        self.runner = Runner(
            *(self.journal, index, self.fleet, self.indexer, self.decisions, self.lease)
        )
        self.steering = Steering(
            *(self.journal, index, self.indexer, self.decisions, self.waiting, self.lookup)
        )
        self.cooldowns = cooldown_bucket(jetstream)
        self.watches = Watches(connection, self.indexer, self.lookup)
        replicas = options.retention.replicas
        self.storage = Storage(
            connection,
            [
                *(
                    functools.partial(part.create, replicas)
                    for part in (
                        *(self.fleet, self.keys, self.credentials, self.cooldowns),
                        self.lease,
                    )
                ),
                # Last: it takes what room is left.
                functools.partial(self.journal.create, options.retention),
            ],
        )
        self._options = options

    def application(self) -> ASGIApp:
        """Return the HTTP application; a new domain of endpoints is one line here."""
        options = self._options
        waits = Waits(options.wait, options.longest_wait)
        feed = Feed(self.index)
        return application(
            Authenticator(options.key, options.roles, {each.permission for each in catalog}),
            [
                *Health(self.jetstream, self.indexer, self.fleet).routes(),
                *Nodes(self.fleet).routes(),
                *Jobs(
                    *(self.lookup, self.submitter, self.steering, Lists(self.index), self.fleet),
                    waits,
                ).routes(),
                *Streams(
                    *(self.lookup, feed, self.index, self.indexer, self.watches, self.fleet),
                    self.stopping,
                ).routes(),
                *RegistryCredentials(self.credentials).routes(),
                *Documents().routes(),
                *Operations(self.submitter, waits).routes(),
            ],
        )

    async def run(self) -> None:
        """Run all parts, for ever."""
        await self.storage.make()
        async with asyncio.TaskGroup() as group:
            for part in (
                *(self.storage, self.indexer, self.fleet),
                *(self.runner, self.watches, self.issuer, self.job_credentials),
            ):
                group.create_task(part.run())

    async def ready(self) -> None:
        """Return once requests can be answered from what the broker has."""
        await self.storage.ready.wait()
        while not self.indexer.caught_up:
            await asyncio.sleep(LOOK_EVERY)

    def stop(self) -> None:
        """End the streams of events: they would delay the controller's end."""
        self.stopping.set()
        self.indexer.pulse.beat()


async def run(
    options: Options, listening: Callable[[str], None], ready: Callable[[], None]
) -> None:
    """Serve until cancelled.

    Args:
        options: the settings.
        listening: called with the URL once requests are accepted.
        ready: called once they can be answered: the broker was reached, what controllers keep
            there exists, and the index has caught up with it.
    """
    listener = bind(options.host, options.port)
    with Index(options.index) as index:
        async with Connection(options.broker, "controller") as connection:
            controller = Controller(options, JetStream(connection), index)
            server = Server(controller.application(), listener, controller.stop)
            async with asyncio.TaskGroup() as group:
                parts = group.create_task(controller.run())
                starting = group.create_task(_call_when_ready(controller, ready))
                listening(server.url)
                try:
                    await server.run()
                finally:
                    parts.cancel()
                    starting.cancel()


async def _call_when_ready(controller: Controller, ready: Callable[[], None]) -> None:
    await controller.ready()
    ready()
