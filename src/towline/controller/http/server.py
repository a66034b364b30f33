"""The HTTP server: uvicorn on a socket of ours, stopped in time."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Generator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from towline.controller.http.encryption import Certificate, Encrypted
from towline.controller.http.limits import Limits
from towline.controller.http.protocol import Connection, Connections
from towline.errors import InvalidConfiguration
from towline.runtime.part import keep_running

STOP_WITHIN = 5
"""Seconds that requests under way have when the controller stops."""
NOSNIFF = ("X-Content-Type-Options", "nosniff")
"""A header of every answer."""


class _Uvicorn(uvicorn.Server):
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


class Server:
    """Serves an application on a socket.

    Args:
        application: what answers.
        listener: a socket that listens, as `bind` returns it.
        stop: called when the server is to end, so that streams end too.
        limits: what one client may take.
        certificate: what clients are shown; without one nothing is encrypted.
        stop_within: seconds; see the constant.
    """

    def __init__(
        self,
        application: ASGIApp,
        listener: socket.socket,
        stop: Callable[[], None],
        limits: Limits,
        certificate: Certificate | None = None,
        *,
        stop_within: int = STOP_WITHIN,
    ) -> None:
        self._listener = listener
        self._stop = stop
        self._stop_within = stop_within
        self._connections = Connections(limits)
        self._certificate = certificate
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                application,
                http=self._protocol,  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=stop_within,
                timeout_keep_alive=math.ceil(limits.idle),
                headers=[NOSNIFF],
            )
        )

    @property
    def url(self) -> str:
        """Where it answers."""
        address = self._listener.getsockname()
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"http{'s' if self._certificate else ''}://{host}:{address[1]}"

    def _protocol(self, **arguments: Any) -> asyncio.BaseProtocol:
        connection = Connection(connections=self._connections, **arguments)
        if self._certificate is None:
            return connection
        return Encrypted(connection, self._certificate.context)

    async def run(self) -> None:
        """Serve until cancelled; then let requests under way end, and return."""
        serving = asyncio.create_task(self._uvicorn.serve(sockets=[self._listener]))
        parts = [asyncio.create_task(keep_running("connections", self._connections.run))]
        if self._certificate is not None:
            parts.append(asyncio.create_task(keep_running("certificate", self._certificate.run)))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._stop()
            self._uvicorn.should_exit = True
            await asyncio.wait([serving], timeout=self._stop_within + 2)
            if broken_off := self._uvicorn.server_state.tasks:
                await asyncio.wait(broken_off, timeout=1)
            raise
        finally:
            for part in parts:
                part.cancel()
