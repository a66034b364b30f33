"""The NATS client library, with what it lacks.

That is: a loss that is reported at once, honest TLS, messages that are sent and received without a
task between, requests that end as soon as nobody can answer them, and messages that can't end the
connection.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import nats.errors
from nats.aio.client import NO_RESPONDERS_STATUS, PING_PROTO, Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.nuid import NUID

PONG_WITHIN = 5.0
"""Seconds within which a server answers a ping."""


class _Drawn(NUID):
    """Names for inboxes that nobody can foretell.

    The library counts up, and draws 16 bits: whoever has the broker could ask in a node's name
    ahead, and keep the signed answers for when the node asks.
    """

    def next(self) -> bytearray:
        # As long as the library's, which takes subjects apart by that: 22 characters.
        return bytearray(secrets.token_urlsafe(16).encode())


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
        self._nuid = _Drawn()
        self._lost = lost
        self._writing: asyncio.Handle | None = None
        self._receivers: dict[int, Callable[[Msg], None]] = {}
        self._asked: dict[str, asyncio.Future[Msg]] = {}
        self._answers = ""

    @property
    def version(self) -> str:
        """The version of the server."""
        return str(self._server_info.get("version", "?"))

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

    # The library has a task of its own write what is to be sent, and makes a future each time.

    async def publish(self, *args: Any, **kwargs: Any) -> None:
        await super().publish(*args, **kwargs)
        writer = self._writer()
        if writer is None or writer.is_closing():
            raise ConnectionResetError("nats: the connection is closed")

    async def room(self) -> None:
        """Wait until the server has read most of what it was sent.

        Raises:
            OSError: the connection is lost.
        """
        writer = self._writer()
        if writer is not None:
            await writer.drain()

    async def _flush_pending(self, force_flush: bool = False) -> None:
        if force_flush:
            # So much that whoever publishes it without a break has to see when there is no room.
            self._write()
        elif self._writing is None:
            # What one turn of the event loop brings is sent together.
            self._writing = asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        self._writing = None
        written, self._pending, self._pending_data_size = self._pending, [], 0
        writer = self._writer()
        if written and writer is not None and not writer.is_closing():
            writer.write(b"".join(written))

    # It passes each message on by a queue and a task, and its waiting for an answer may drop a
    # cancellation.

    async def listen(
        self, subject: str, receive: Callable[[Msg], None], queue: str = ""
    ) -> Subscription:
        """Receive what is published on a subject.

        Args:
            receive: called with each message as it is read; it raises nothing.
            queue: of all who name the same one, each message reaches one; "" for every message.
        """
        # With a future the library makes no task.
        unused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        subscription = await self.subscribe(subject, queue=queue, future=unused)
        self._receivers[subscription._id] = receive
        return subscription

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self._receivers.pop(sid, None)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        receive = self._receivers.get(sid)
        if receive is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        found = await self._process_headers(headers) if headers else None
        receive(self._build_message(sid, subject, reply, data, found))

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        if not self._answers:
            self._answers = f"{self.new_inbox()}."
            await self.listen(f"{self._answers}*", self._answered)
        loop = asyncio.get_running_loop()
        reply = self._answers + secrets.token_urlsafe(16)
        answer: asyncio.Future[Msg] = loop.create_future()
        self._asked[reply] = answer
        timer = loop.call_later(timeout, _expire, answer)
        try:
            await self.publish(subject, payload, reply, headers)
            found = await answer
        finally:
            timer.cancel()
            del self._asked[reply]
        if found.headers and found.headers.get("Status") == NO_RESPONDERS_STATUS:
            raise nats.errors.NoRespondersError
        return found

    def _answered(self, message: Msg) -> None:
        answer = self._asked.get(message.subject)
        if answer is not None and not answer.done():
            answer.set_result(message)

    async def flush(self, timeout: float = PONG_WITHIN) -> None:
        # The library waits in a way that may drop a cancellation, and reads nothing more once there
        # is the answer to a ping for which nobody waits any longer.
        pong: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await self._send_ping(pong)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(pong)
        except TimeoutError:
            raise nats.errors.FlushTimeoutError from None

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        # Behind what waits to be sent, or its answer would say nothing of that.
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        self._pending.append(PING_PROTO)
        await self._flush_pending()

    async def _ping_interval(self) -> None:
        # A ping is for a connection over which no other one was answered meanwhile.
        own = 0
        while True:
            known = self._pongs_received + own
            await asyncio.sleep(self.options["ping_interval"])
            if self._pongs_received > known:
                own = 0
                continue
            self._pings_outstanding += 1
            if self._pings_outstanding > self.options["max_outstanding_pings"]:
                await self._process_op_err(nats.errors.StaleConnectionError())
                return
            await self._send_ping()
            own = 1

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
        self._end()
        await super()._close(status, do_cbs)

    def drop(self) -> None:
        """Close the connection at once: what is still to be sent would reach nobody."""
        self._end()
        self._pending, self._pending_data_size = [], 0
        writer = self._writer()
        if writer is not None:
            writer.transport.abort()

    def _end(self) -> None:
        """Say that the connection is lost, also to all who wait for an answer."""
        self._lost.set()
        for waiting in (*self._asked.values(), *self._pongs):
            if not waiting.done():
                waiting.set_exception(nats.errors.ConnectionClosedError())
                waiting.exception()  # for a ping nobody may wait

    def _writer(self) -> asyncio.StreamWriter | None:
        return getattr(self._transport, "_io_writer", None)


def _expire(answer: asyncio.Future[Msg]) -> None:
    if not answer.done():
        answer.set_exception(nats.errors.TimeoutError())


def _readable(text: bytes) -> bytes:
    """Return `text` as UTF-8, with a replacement character where it is none."""
    return text if text.isascii() else text.decode(errors="replace").encode()
