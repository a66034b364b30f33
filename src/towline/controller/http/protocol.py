"""One connection of a client: HTTP/1.1 as httptools reads it, within limits.

uvicorn's own protocol takes a head of any size and in any time. What a connection is at follows
from what uvicorn knows of it anyhow; all of them are looked at once a second, which costs requests
nothing.
"""

from __future__ import annotations

import asyncio
import enum
import json
import time
from collections import Counter, deque
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.utils import get_remote_addr

from towline.broker.repeated import Repeated
from towline.controller.asker import Asker
from towline.controller.http.limits import Limits, is_of, most_connections, origin
from towline.controller.rate import Rate

CHUNKED = 5
"""Bytes that a byte of a body may come with: as many as where it is a chunk by itself."""


class Stage(enum.Enum):
    """What a connection is at."""

    HANDSHAKE = enum.auto()
    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    ANSWER = enum.auto()
    REFUSED = enum.auto()


class Refusal(Exception):
    """Why a connection is closed.

    Args:
        told: whether its client is to be told, where that takes a handshake.
    """

    def __init__(self, status: int, error: str, details: str, *, told: bool = True) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.details = details
        self.told = told

    @property
    def answer(self) -> bytes:
        """The last answer on its connection."""
        body = json.dumps(
            {"error": self.error, "details": self.details, "code": self.status}
        ).encode()
        again = b"retry-after: 1\r\n" if self.status in (429, 503) else b""
        return (
            b"%bcontent-type: application/json\r\ncontent-length: %d\r\ncache-control: no-store\r\n"
            b"x-content-type-options: nosniff\r\n%bconnection: close\r\n\r\n%b"
        ) % (STATUS_LINE[self.status], len(body), again, body)


class Connections:
    """The connections there are, and how many each address has.

    Attributes:
        limits: what they may take.
        refused: those that are closed in a moment.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._most = min(limits.connections, most_connections())
        self.refused: set[Connection] = set()
        self._open: set[Connection] = set()
        self._of: Counter[str] = Counter()
        # Who may have so many connections may open them, too.
        at_once = max(limits.handshakes_at_once, limits.connections_of_address)
        self._handshakes = Rate(limits.handshakes, at_once)
        self._told = Rate(limits.told, limits.told)
        self._log = Repeated("connection refused")

    def add(
        self, connection: Connection, client: str, address: str, *, encrypted: bool
    ) -> Refusal | None:
        """Take a connection; return why it is refused, None if it is not.

        Args:
            client: the client's address.
            address: what counts as one.
            encrypted: whether it begins with a handshake.
        """
        limits = self.limits
        self._open.add(connection)
        self._of[address] += 1
        limited = bool(client) and not is_of(client, limits.proxies)
        # First: who is refused for something else is told that after a handshake, too.
        if encrypted and limited and not self._handshakes.spend(address):
            return Refusal(
                429,
                f"Your address, {address}, begins more than {limits.handshakes:.0f} encrypted "
                "connections a second, as many as one address may.",
                "Send several requests over one connection; the setting trusted-proxies allows any "
                "number",
                told=self._told.spend(address),
            )
        if len(self._open) - len(self.refused) > self._most:
            return Refusal(
                503,
                f"The controller has {self._most} connections, as many as it takes.",
                "Try again in a moment, or ask another controller; it takes more where the limit "
                "of open files (ulimit -n, LimitNOFILE=) allows more",
            )
        if limited and self._of[address] > limits.connections_of_address:
            return Refusal(
                429,
                f"Your address, {address}, has {limits.connections_of_address} connections, as "
                "many as one address may have.",
                "Close some, or send several requests over one; the setting "
                "max-connections-per-address allows more, and trusted-proxies any number",
            )
        return None

    def remove(self, connection: Connection, address: str) -> None:
        """Forget a connection that is closed."""
        self.refused.discard(connection)
        self._open.discard(connection)
        self._of[address] -= 1
        if not self._of[address]:
            del self._of[address]

    def report(self, address: str, refusal: Refusal) -> None:
        """Log a refusal: who makes thousands of them fills no disk."""
        self._log.warning(address=address, status=refusal.status, reason=refusal.error)

    async def run(self) -> None:
        """Close connections that take too long, for ever."""
        try:
            while True:
                await asyncio.sleep(self.limits.look_every)
                now = time.monotonic()
                for each in list(self._open):
                    each.look(now)
        finally:
            self._log.close()


class Connection(HttpToolsProtocol):
    """A connection of a client.

    Args:
        connections: all there are.
        arguments: uvicorn's.
    """

    def __init__(self, *, connections: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._all = connections
        self._limits = connections.limits
        self._address = ""
        self._below: asyncio.Transport | None = None
        """The connection as it is counted: where it is encrypted, with what is encrypted."""
        self._refusal: Refusal | None = None
        self._at: tuple[Stage, object] = (Stage.IDLE, None)
        self._since = time.monotonic()
        self._head = self._incoming = self._body = self._rest = self._unsent = 0
        self._head_of: object = None
        self._cycles: deque[RequestResponseCycle] = deque()
        """The requests that are not answered: one whose answer is under way, and those behind."""
        self._asker = Asker()

    def open(self, transport: asyncio.Transport, *, encrypted: bool = False) -> bool:
        """Count a connection that is open; where it is encrypted, before its handshake.

        Returns:
            Whether it is taken, or there is room to say why it is not.
        """
        self._below = transport
        remote = get_remote_addr(transport)
        client = remote[0] if remote else ""
        self._address = origin(client) if client else ""
        self._refusal = self._all.add(self, client, self._address, encrypted=encrypted)
        return self._refusal is None or (self._refusal.told and self._lingers())

    def leave(self) -> None:
        """Count it no more."""
        if self._below is not None:
            self._below = None
            self._all.remove(self, self._address)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it at once."""
        super().connection_made(transport)
        if self._below is None:
            self.open(transport)
        if self._refusal is not None:
            self.refuse(self._refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        try:
            self._give_up()
            super().connection_lost(exc)
        finally:
            self.leave()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends, within the limits."""
        if self._refusal is not None:
            return
        self._unset_keepalive_if_required()
        self._incoming = len(data)
        self._rest += len(data)
        try:
            self.parser.feed_data(data)
            if self._in_head:
                # One that begins within what has just come counts from the next on.
                self._head = self._head + len(data) if self._head_of is self.scope else 0
                self._head_of = self.scope
                if self._head > self._limits.head:
                    raise self._too_large()
            elif self._rest > self._limits.head + CHUNKED * self._body:
                raise self._too_large()
        except httptools.HttpParserUpgrade:
            return  # to nothing that is spoken here: the request is answered as any other
        except Refusal as refusal:
            self.refuse(refusal)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self.refuse(cause if isinstance(cause, Refusal) else _not_http(error))
        except httptools.HttpParserError as error:
            self.refuse(_not_http(error))

    @property
    def _in_head(self) -> bool:
        """Whether a request's head has begun and not ended."""
        scope, cycle = self.scope, self.cycle
        return scope is not None and (cycle is None or cycle.scope is not scope)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["asker"] = self._asker  # type: ignore[typeddict-unknown-key]
        self._body = self._rest = 0

    def on_headers_complete(self) -> None:
        """Look whether the head is within the limits, and begin the answer."""
        headers = self.headers
        if len(headers) > self._limits.headers:
            raise Refusal(
                431,
                f"The request has more than {self._limits.headers} headers.",
                "Leave out those that say nothing to a controller",
            )
        if self._head_of is self.scope or self._incoming > self._limits.head:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > self._limits.head:
                raise self._too_large()
        hosts = sum(name == b"host" for name, _ in headers)
        if hosts != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            raise Refusal(
                400,
                f"The request has {'more than one' if hosts else 'no'} Host header.",
                "Send one, as HTTP/1.1 asks (RFC 9112, section 3.2)",
            )
        super().on_headers_complete()
        self._pass_answered()
        self._cycles.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        """Take a part of the request's body."""
        self._body += len(body)
        self._rest -= len(body)
        super().on_body(body)

    def _too_large(self) -> Refusal:
        return Refusal(
            431,
            f"The request's head is larger than {self._limits.head} bytes.",
            "Leave headers out, or send parameters in the body",
        )

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal where nothing was answered yet, and close the connection soon."""
        self._refusal = refusal
        self._all.report(self._address, refusal)
        self._give_up()
        if self._cycles and self._cycles[0].response_started:
            self.transport.abort()
            return
        self.transport.write(refusal.answer)
        if not self._lingers():
            self.transport.close()
            return
        self.flow.resume_reading()
        if self.transport.can_write_eof():  # not where it is encrypted
            self.transport.write_eof()

    def _lingers(self) -> bool:
        """Return whether a refused connection may stay for a moment."""
        refused = self._all.refused
        if self not in refused and len(refused) >= self._limits.refused:
            return False
        refused.add(self)
        return True

    def _pass_answered(self) -> None:
        while self._cycles and self._cycles[0].response_complete:
            self._cycles.popleft()

    def _give_up(self) -> None:
        """End all requests that are not answered: uvicorn knows of the last one alone."""
        self._asker.leave()
        self._pass_answered()
        self.pipeline.clear()
        for cycle in self._cycles:
            cycle.disconnected = True
            cycle.message_event.set()

    def shutdown(self) -> None:
        """End when the request under way is answered: the controller stops."""
        super().shutdown()
        self.loop.call_later((self.config.timeout_graceful_shutdown or 0) / 2, self._leave)

    def _leave(self) -> None:
        # The answer to a client that doesn't read would not end by itself.
        if self.flow.write_paused:
            self.transport.abort()

    def look(self, now: float) -> None:
        """Close the connection where what it is at takes too long.

        Args:
            now: by `time.monotonic`.
        """
        limits, at = self._limits, self._present()
        unsent = self._waiting()
        if at[0] != self._at[0] or at[1] is not self._at[1] or unsent != self._unsent:
            self._at, self._since, self._unsent = at, now, unsent
        taken = now - self._since
        match at[0]:
            case Stage.ANSWER | Stage.IDLE if unsent:
                # To close it would wait for the client to take the rest.
                if taken > limits.stuck:
                    self.transport.abort()
            case Stage.IDLE if self.cycle is None and taken > limits.head_within:
                self.refuse(_late("No request has come", limits.head_within))
            case Stage.IDLE if taken > limits.idle:
                self.transport.close()
            case Stage.HEAD if taken > limits.head_within:
                self.refuse(_late("The request's head has not ended", limits.head_within))
            case Stage.BODY if taken > limits.body_within + self._body / limits.body_rate:
                self.refuse(_late("The request's body has not ended", taken))
            case Stage.REFUSED if taken > limits.lingering:
                self._abort()
            case Stage.HANDSHAKE if taken > limits.head_within:
                # In plain text nothing would be understood.
                late = _late("The TLS handshake has not ended", limits.head_within)
                self._all.report(self._address, late)
                self._abort()

    def _abort(self) -> None:
        if self._below is not None:
            self._below.abort()

    def _waiting(self) -> int:
        """Return how many bytes the client has not taken yet."""
        below, above = self._below, self.transport
        waiting = 0 if below is None else below.get_write_buffer_size()
        if above is not None and above is not below:
            waiting += above.get_write_buffer_size()
        return waiting

    def _present(self) -> tuple[Stage, object]:
        """Return what the connection is at: a stage, and which one of that kind."""
        cycle = self.cycle
        if self._refusal is not None:
            return Stage.REFUSED, None
        if self.transport is None:
            return Stage.HANDSHAKE, None
        if cycle is not None and not cycle.response_complete:
            # Where we don't read, it isn't the client that takes long.
            if cycle.more_body and not self.flow.read_paused:
                return Stage.BODY, cycle
            return Stage.ANSWER, cycle
        return (Stage.HEAD, self.scope) if self._in_head else (Stage.IDLE, cycle)


def _late(what: str, seconds: float) -> Refusal:
    return Refusal(408, f"{what} within {seconds:.0f} seconds.", "Send it without a pause")


def _not_http(error: Exception) -> Refusal:
    return Refusal(400, "The request is not valid HTTP/1.1.", str(error)[:200])
