"""The controller's process: connect, fold, serve."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from towline.broker.connection import Connection
from towline.broker.journal import EVENTS, JOBS, Retention
from towline.broker.settings import Settings
from towline.controller.auth import Authenticator
from towline.controller.http.app import Api
from towline.controller.jobs.dispatch import Dispatch
from towline.controller.jobs.index import Index
from towline.errors import InvalidConfiguration, TowlineError
from towline.operation import catalog
from towline.runtime.keys import Vault
from towline.wire import cooldown

log = structlog.get_logger()

STOP_WITHIN = 5


class Options(msgspec.Struct, frozen=True):
    """What a controller is told.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        wait, longest_wait, expires: seconds.
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


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1, answering what is no HTTP with an error body like every other error."""

    def send_400_response(self, message: str) -> None:
        body = json.dumps(
            {
                "error": "The request is not valid HTTP/1.1.",
                "details": message,
                "code": 400,
            }
        ).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host` and `port`.

    Raises:
        InvalidConfiguration: it can't.
    """
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = info[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except (OSError, UnicodeError) as error:  # the latter for a name that can be no host's
        raise InvalidConfiguration(
            f"Can't listen on {host}:{port}.", f"{error}; name another with --listen HOST:PORT"
        ) from error
    return listener


async def run(options: Options, listening: Callable[[str], None]) -> None:
    """Serve until cancelled.

    Args:
        listening: called with the URL once requests are accepted.
    """
    listener = bind(options.host, options.port)
    authenticator = Authenticator(
        options.key, options.roles, {operation.permission for operation in catalog}
    )
    with Index(options.index) as index:
        async with Connection(options.broker, "controller") as broker:
            dispatch = Dispatch(
                broker,
                index,
                options.vault,
                expires=options.expires,
                retention=options.retention.age,
            )
            api = Api(
                dispatch,
                authenticator,
                wait=options.wait,
                longest_wait=options.longest_wait,
            )
            server = _Server(
                uvicorn.Config(
                    api.application(),
                    http=_Protocol,
                    ws="none",
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    timeout_graceful_shutdown=STOP_WITHIN,
                    timeout_keep_alive=75,
                )
            )
            async with asyncio.TaskGroup() as group:
                background = group.create_task(_background(dispatch, options.retention))
                serving = group.create_task(server.serve(sockets=[listener]))
                address = listener.getsockname()
                host = f"[{address[0]}]" if ":" in address[0] else address[0]
                listening(f"http://{host}:{address[1]}")
                try:
                    await asyncio.shield(serving)
                except asyncio.CancelledError:
                    dispatch.stop()
                    server.should_exit = True
                    await asyncio.wait([serving], timeout=STOP_WITHIN + 2)
                    raise
                finally:
                    background.cancel()


async def _background(dispatch: Dispatch, retention: Retention) -> None:
    """Keep what the broker has to hold there, and index and fleet current."""
    await _provide(dispatch, retention)
    loops: list[Any] = [
        _keep_providing(dispatch, retention),
        dispatch.fold.follow(JOBS),
        dispatch.fold.follow(EVENTS),
        dispatch.fold.write(),
        dispatch.fleet.follow_nodes(),
        dispatch.fleet.follow_states(),
        dispatch.fleet.follow_heartbeats(),
        dispatch.fleet.watch(),
        dispatch.driver.drive(),
        dispatch.watches.listen(),
        dispatch.issuer.listen(),
        dispatch.issuer.answer(),
        dispatch.issuer.tidy(),
    ]
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(loop)


async def _provide(dispatch: Dispatch, retention: Retention) -> None:
    """Make streams and buckets where the broker has none."""
    pause = 0.1
    while True:
        try:
            await dispatch.fleet.create(retention.replicas)
            await dispatch.keys.create(retention.replicas)
            await dispatch.registries.create(retention.replicas)
            await cooldown.create(dispatch.broker, retention.replicas)
            await dispatch.driver.lease.create(retention.replicas)
            # Last: it takes what room is left.
            await dispatch.journal.create(retention)
            return
        except TowlineError as error:
            log.warning("journal not made yet", reason=error.details)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)


async def _keep_providing(dispatch: Dispatch, retention: Retention) -> None:
    # What is kept in memory is gone after a restart of the broker.
    while True:
        await dispatch.broker.lost()
        await dispatch.broker.client()
        await _provide(dispatch, retention)
