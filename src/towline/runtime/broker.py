"""`towline broker`: a nats-server, alone or one of a cluster, that encrypts all that passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from towline.errors import InvalidConfiguration
from towline.runtime import key_watch
from towline.runtime.key_watch import KeyFile, KeyFiles
from towline.runtime.nats_conf import Plan, nats_conf
from towline.runtime.nats_server import NatsServer
from towline.runtime.part import keep_running
from towline.runtime.state_directory import make_private, write_private
from towline.trust.certificates import RENEW_EVERY, Pair, Renewed
from towline.trust.keys import CA, CA_KEY, Trust

log = structlog.get_logger()

LOOK_EVERY = 60.0
"""Seconds between looks at the clock, which may be set, or have stood still."""


async def run(
    trust: Trust,
    plan: Plan,
    names: list[str],
    ready: Callable[[], None],
    *,
    renew_every: float = RENEW_EVERY,
    look_every: float = LOOK_EVERY,
    read_every: float = key_watch.LOOK_EVERY,
    clock: Callable[[], float] = time.time,
) -> None:
    """Run a broker until cancelled.

    It has another certificate whenever it is time, and when the files of the CA have changed; its
    connections stay.

    Args:
        plan: what is its own, with encryption.
        names: host names and addresses by which it is reached.
        ready: called once it accepts connections.
        renew_every, look_every: seconds; see the constants.
        read_every: seconds between looks at the files of the CA.
        clock: returns the time in seconds since 1970.

    Raises:
        InvalidConfiguration: the server could not be started, or has ended.
    """
    files = plan.encryption
    assert files is not None
    certificate = Renewed(
        lambda: trust.authority,
        lambda: names,
        connects=plan.peers is not None,
        renew_every=renew_every,
        clock=clock,
    )

    def write(pair: Pair) -> Pair:
        write_private(files.key, pair.key)
        write_private(files.certificate, pair.certificate)
        return pair

    make_private(plan.store)
    configuration = plan.store / "nats.conf"
    server = NatsServer(configuration, None)
    await server.end_orphan()
    write_private(configuration, nats_conf(plan, trust.accounts()))
    written: Pair | None = None

    def renew() -> None:
        nonlocal written
        try:
            if (found := certificate()) == written:
                return
            written = write(found)
        except OSError as error:
            raise InvalidConfiguration(
                "The broker's certificate can't be written.", str(error)
            ) from error
        server.reload()
        log.info("certificate renewed", certificate=str(files.certificate))

    def renew_now() -> None:
        # Also where the same key signs on: the server has to read whom else it takes for a broker.
        certificate.forget()
        renew()

    authority = KeyFiles(
        [KeyFile(trust.path(name), renew_now) for name in (CA, CA_KEY)], look_every=read_every
    )
    written = write(certificate())
    reading = asyncio.create_task(keep_running("files of the CA", authority.run))
    try:
        await server.start(plan.listen)
        ready()
        ending = asyncio.create_task(server.wait())
        while not (await asyncio.wait([ending], timeout=look_every))[0]:
            try:
                renew()
            except InvalidConfiguration as error:
                log.error("certificate not renewed yet", reason=f"{error.error} {error.details}")
        raise InvalidConfiguration(
            f"The broker ended with status {ending.result()}.", "its log stands above"
        )
    finally:
        reading.cancel()
        await server.stop()
