"""The HTTP server: uvicorn on a socket of ours, stopped in time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Generator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from towline.errors import InvalidConfiguration

STOP_WITHIN = 5
"""Seconds that requests under way have when the controller stops."""
KEEP_ALIVE = 75
"""Seconds for which an idle connection stays open."""


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

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later((self.config.timeout_graceful_shutdown or 0) / 2, self._leave)

    def _leave(self) -> None:
        # The answer to a client that doesn't read would not end by itself.
        if self.flow.write_paused:
            self.transport.abort()


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
        stop_within: seconds; see the constant.
    """

    def __init__(
        self,
        application: ASGIApp,
        listener: socket.socket,
        stop: Callable[[], None],
        *,
        stop_within: int = STOP_WITHIN,
    ) -> None:
        self._listener = listener
        self._stop = stop
        self._stop_within = stop_within
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                application,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=stop_within,
                timeout_keep_alive=KEEP_ALIVE,
            )
        )

    @property
    def url(self) -> str:
        """Where it answers."""
        address = self._listener.getsockname()
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"http://{host}:{address[1]}"

    async def run(self) -> None:
        """Serve until cancelled; then let requests under way end, and return."""
        serving = asyncio.create_task(self._uvicorn.serve(sockets=[self._listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._stop()
            self._uvicorn.should_exit = True
            await asyncio.wait([serving], timeout=self._stop_within + 2)
            if broken_off := self._uvicorn.server_state.tasks:
                await asyncio.wait(broken_off, timeout=1)
            raise
