"""The NATS client library, with what it lacks.

That is: a loss that is reported at once, honest TLS, a flush that sends what waits, and messages
that can't end the connection.
"""

from __future__ import annotations

import asyncio
from typing import Any

import nats.errors
from nats.aio.client import Client


class ServerClient(Client):
    """One connection to one server, which reports at once that it is lost.

    Left to itself the library tries a server twice, two seconds apart, and reports a loss when it
    has sent what was left to send: to a server that is gone without a word, after a quarter of an
    hour.

    Args:
        lost: set when the connection is lost, or closed.
    """

    def __init__(self, lost: asyncio.Event) -> None:
        super().__init__()
        self._lost = lost

    async def _select_next_server(self) -> None:
        (self._current_server,) = self._server_pool
        await self._connect_to_server(self._current_server)

    def _connect_command(self) -> bytes:
        # The library encrypts only if the server's greeting asks for it. To a server that doesn't,
        # or to somebody between who strikes that out, it would send the credentials in the clear.
        encrypted = self._server_info.get("tls_required", False)
        if self._current_server and self._current_server.uri.scheme == "tls" and not encrypted:
            raise nats.errors.Error("nats: the server does not encrypt, and the URL says tls")
        return super()._connect_command()

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        # The library writes a ping ahead of what waits to be sent: its answer, and so `flush`,
        # would say nothing of that.
        assert self._transport is not None
        self._transport.writelines(self._pending)
        self._pending, self._pending_data_size = [], 0
        await super()._send_ping(future)

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        try:
            return await super()._flush_pending(force_flush)
        except RuntimeError as error:
            # uvloop raises it for a transport that is closed, where asyncio only logs that.
            writer = self._writer()
            if writer is None or not writer.is_closing():
                raise
            raise ConnectionResetError(f"nats: {error}") from error

    # Whoever may publish chooses the bytes that these two are given. Left to itself the library
    # reads nothing more once there are some that it can't read, and the connection is as good as
    # lost.

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (LookupError, ValueError):
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Any:
        return super()._build_message(sid, _readable(subject), _readable(reply), data, headers)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self._lost.set()
        await super()._close(status, do_cbs)

    def drop(self) -> None:
        """Close the connection at once: what is still to be sent would reach nobody."""
        self._lost.set()
        self._pending, self._pending_data_size = [], 0
        writer = self._writer()
        if writer is not None:
            writer.transport.abort()

    def _writer(self) -> asyncio.StreamWriter | None:
        return getattr(self._transport, "_io_writer", None)


def _readable(text: bytes) -> bytes:
    """Return `text` as UTF-8, with a replacement character where it is none."""
    return text if text.isascii() else text.decode(errors="replace").encode()
