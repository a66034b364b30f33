"""A proxy that relays HTTP faithfully until it is set to misbehave."""

import asyncio
import contextlib
import re
import socket
import struct
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from tests.testing.engine import Engine
from tests.testing.ports import free_port
from tests.testing.registry import Registry

Unit = Literal["byte", "line"]
T = TypeVar("T")

_HEAD_LIMIT = 1 << 20
_GRAIN = 16384
_TICK = 0.004
"""Seconds slept for at least, to keep a rate: timers are good to a millisecond or so."""
_TLS_HANDSHAKE = b"\x16"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What becomes of responses to requests whose `METHOD /path?query` matches a pattern.

    `after` counts in the response's body, in bytes or in whole lines; the head counts nothing.
    With `once` it is over when it has struck (a cut, a byte that was flipped).
    """

    match: str = ""
    after: int = 0
    unit: Unit = "byte"
    once: bool = False

    def place(self, piece: bytes, passed: int, lines: int) -> int | None:
        """Return where in the next piece of a body it strikes, or None.

        `passed` and `lines` are the bytes and whole lines that went before.
        """
        if self.unit == "byte":
            offset = max(self.after - passed, 0)
            return offset if offset <= len(piece) else None
        offset = 0
        for _ in range(self.after - lines):
            offset = piece.find(b"\n", offset) + 1
            if not offset:
                return None
        return offset


@dataclass(frozen=True, kw_only=True)
class Cut(Fault):
    """The connection is reset after so much of the body."""


@dataclass(frozen=True, kw_only=True)
class EndEarly(Fault):
    """A chunked body ends after so much, well-formed, as if that were all.

    A body with a length can't end early and be well-formed: there the connection is closed.
    """


@dataclass(frozen=True, kw_only=True)
class FlipByte(Fault):
    """The byte after so many is another than the server's."""

    def place(self, piece: bytes, passed: int, lines: int) -> int | None:
        return super().place(piece, passed, lines) if passed <= self.after else None


@dataclass(frozen=True, kw_only=True)
class Freeze(Fault):
    """Nothing more comes after so much of the body, until the fault is changed."""


@dataclass(frozen=True, kw_only=True)
class Answer(Fault):
    """The proxy answers by itself; the server never learns of the request."""

    status: int = 500
    body: bytes = b""
    content_type: str = "application/json"
    retry_after: str = ""
    """What the header `Retry-After` says; "" for none."""
    location: str = ""
    """Where the header `Location` sends clients; "" for none."""


class FaultyProxy:
    """An HTTP/1.1 proxy before a registry or an engine.

    `fault` may be set at any time and holds for what passes from then on; None lets all pass.
    `requests` lists what came in, as `METHOD /path?query`.
    `served` counts the bytes of blobs that it has passed on, in answers that began since
    `count_anew`; `busy` counts the requests under way.
    `rate`, if set, is how many bytes a second of each blob it passes on.
    `delay` is for how many seconds each request is held up: a server that is far away.
    `rewrite`, if set, is a part of requests' paths, and what takes its place on the way.
    `refuse` closes the listener and all connections, `accept` opens it again.

    Upstream is a TCP port on loopback or the path of a unix socket, and the proxy listens on the
    same kind: see `before_registry` and `before_engine`.
    """

    def __init__(self, upstream: int | Path) -> None:
        self._upstream = upstream
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        if isinstance(upstream, int):
            self.port = free_port()
        else:
            self._directory = tempfile.TemporaryDirectory(prefix="tl-", dir=upstream.parent)
            self.socket = Path(self._directory.name) / "p.sock"
        self.requests: list[str] = []
        self.busy = 0
        self._served = [0]
        self.rate: float | None = None
        self.delay = 0.0
        self.rewrite: tuple[bytes, bytes] | None = None
        self._fault: Fault | None = None
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-proxy")

    @classmethod
    def before_registry(cls, registry: Registry) -> Self:
        """Make a proxy whose `host` stands in references in place of the registry's."""
        return cls(registry.port)

    @classmethod
    def before_engine(cls, engine: Engine) -> Self:
        """Make a proxy whose `url` stands in place of the engine's."""
        return cls(engine.socket)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._directory is not None:
            self._directory.cleanup()

    @property
    def host(self) -> str:
        """host:port for image references."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """The address as `DOCKER_HOST` would have it."""
        return f"unix://{self.socket}" if self._directory else f"http://127.0.0.1:{self.port}"

    @property
    def fault(self) -> Fault | None:
        """What goes wrong at present."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._call(self._set(fault))

    def refuse(self) -> None:
        """Close the listener and reset every connection: clients are refused."""
        self._call(self._hang_up())

    def accept(self) -> None:
        """Listen again, at the same address."""
        self._call(self._listen())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=30)

    async def _set(self, fault: Fault | None) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    async def _listen(self) -> None:
        if self._server is not None:
            return
        if self._directory:
            self.socket.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(
                self._serve, self.socket, limit=_HEAD_LIMIT
            )
        else:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, limit=_HEAD_LIMIT
            )

    async def _hang_up(self) -> None:
        server, self._server = self._server, None
        # A server that is closed while it accepts a connection leaves that open.
        for listener in server.sockets if server is not None else ():
            self._loop.remove_reader(listener)
        for task in self._connections:
            task.cancel()
        # One that is being accepted has no task of its own yet, and closes itself when it has.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)
        if server is not None:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._server is None:
            _reset(writer)
            return
        self._connections.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            first = await reader.read(1)
            if first == _TLS_HANDSHAKE:
                # Engines try TLS first; an answer in plain HTTP makes them fall back.
                writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                await writer.drain()
                return
            if isinstance(self._upstream, int):
                server, upstream = await asyncio.open_connection(
                    "127.0.0.1", self._upstream, limit=_HEAD_LIMIT
                )
            else:
                server, upstream = await asyncio.open_unix_connection(
                    self._upstream, limit=_HEAD_LIMIT
                )
            while first:
                self.busy += 1
                try:
                    await self._exchange(first, reader, writer, server, upstream)
                finally:
                    self.busy -= 1
                first = await reader.read(1)
        except _Reset:
            _reset(writer)
        except asyncio.CancelledError:  # by `refuse` or the end; nobody waits for this task's word
            _reset(writer)
        except (_Closed, OSError, asyncio.IncompleteReadError):
            pass  # one side has gone: so does the other, below
        finally:
            self._connections.discard(task)
            for side in (writer, upstream):
                if side is not None:
                    side.close()

    async def _exchange(
        self,
        first: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        """Relay one request and its response."""
        request = first + await reader.readuntil(b"\r\n\r\n")
        method, path, _ = request.split(b"\r\n", 1)[0].decode().split(" ", 2)
        line = f"{method} {path}"
        self.requests.append(line)
        await asyncio.sleep(self.delay)
        fault = self._fault_for(line)
        if isinstance(fault, Answer):
            # The request's body is not read, so the connection can't be used again.
            asks = f"Retry-After: {fault.retry_after}\r\n" if fault.retry_after else ""
            asks += f"Location: {fault.location}\r\n" if fault.location else ""
            writer.write(
                f"HTTP/1.1 {fault.status} Fault\r\nContent-Type: {fault.content_type}\r\n{asks}"
                f"Content-Length: {len(fault.body)}\r\nConnection: close\r\n\r\n".encode()
                + (b"" if method == "HEAD" else fault.body)
            )
            await writer.drain()
            raise _Closed

        if self.rewrite is not None:
            first_line, rest = request.split(b"\r\n", 1)
            request = first_line.replace(*self.rewrite, 1) + b"\r\n" + rest
        upstream.write(request)
        framing = _Framing.of(request, without="none")
        await _send(upstream, framing, _pieces(reader, framing))

        response = await server.readuntil(b"\r\n\r\n")
        status = int(response.split(b" ", 2)[1])
        writer.write(response)
        await writer.drain()
        if status == 101:
            await _relay_raw(reader, writer, server, upstream)
            raise _Closed
        if method == "HEAD" or status in (204, 304):
            return
        framing = _Framing.of(response, without="closed")
        try:
            body = self._tamper(line, _pieces(server, framing))
            await _send(writer, framing, self._meter(body) if "/blobs/" in line else body)
        except _Ended:
            await _finish(writer, framing)
            raise _Closed from None
        if framing.kind == "closed":
            raise _Closed

    @property
    def served(self) -> int:
        """Bytes of blobs that were passed on."""
        return self._served[0]

    def count_anew(self) -> None:
        """Count from 0: what is still passed on of an answer that began before counts no more."""
        self._served = [0]

    async def _meter(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield a blob at the rate of the moment, and count it."""
        ahead, served = 0.0, self._served
        async for piece in body:
            for begin in range(0, len(piece), _GRAIN):
                part = piece[begin : begin + _GRAIN]
                if self.rate is not None:
                    ahead += len(part) / self.rate
                    if ahead >= _TICK:
                        slept_at = time.monotonic()
                        await asyncio.sleep(ahead)
                        ahead -= time.monotonic() - slept_at
                served[0] += len(part)
                yield part

    async def _tamper(self, line: str, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield a response's body as the fault of the moment lets it pass."""
        passed = lines = 0
        async for piece in body:
            rest = piece
            while True:
                fault = self._fault_for(line)
                place = None if fault is None else fault.place(rest, passed, lines)
                clean = rest[:place]
                yield clean
                passed, lines, rest = passed + len(clean), lines + clean.count(b"\n"), rest[place:]
                if place is None:
                    break
                if fault is not None and fault.once and (rest or not isinstance(fault, FlipByte)):
                    self._fault = None
                match fault:
                    case Cut():
                        raise _Reset
                    case EndEarly():
                        raise _Ended
                    case Freeze():
                        await self._changed.wait()
                    case FlipByte() if rest:
                        yield bytes([rest[0] ^ 0xFF])
                        passed, rest = passed + 1, rest[1:]
                    case _:
                        break  # the byte to flip is the first of the next piece

    def _fault_for(self, line: str) -> Fault | None:
        fault = self._fault
        return fault if fault is not None and re.search(fault.match, line) else None


class _Closed(Exception):
    """The connection is at its end."""


class _Reset(Exception):
    """The connection is to be reset."""


class _Ended(Exception):
    """The body is to end here."""


@dataclass(frozen=True)
class _Framing:
    """How a message's body is delimited (RFC 9112, section 6)."""

    kind: Literal["none", "length", "chunked", "closed"]
    length: int = 0

    @classmethod
    def of(cls, head: bytes, *, without: Literal["none", "closed"]) -> "_Framing":
        """Read it from a head; `without` is what holds if the head says nothing."""
        fields = {}
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip().lower()
        if fields.get(b"transfer-encoding") == b"chunked":
            return cls("chunked")
        if b"content-length" in fields:
            return cls("length", int(fields[b"content-length"]))
        return cls(without)


async def _pieces(reader: asyncio.StreamReader, framing: _Framing) -> AsyncIterator[bytes]:
    """Yield a body as it arrives; first an empty piece, for a fault before any of it."""
    yield b""
    match framing.kind:
        case "chunked":
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                yield await reader.readexactly(size)
                await reader.readexactly(2)
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass  # trailers
        case "length":
            left = framing.length
            while left:
                piece = await reader.read(min(left, 65536))
                if not piece:
                    raise _Closed
                left -= len(piece)
                yield piece
        case "closed":
            while piece := await reader.read(65536):
                yield piece


async def _send(
    writer: asyncio.StreamWriter, framing: _Framing, pieces: AsyncIterator[bytes]
) -> None:
    async for piece in pieces:
        if piece:
            chunked = framing.kind == "chunked"
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
    await _finish(writer, framing)


async def _finish(writer: asyncio.StreamWriter, framing: _Framing) -> None:
    if framing.kind == "chunked":
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _relay_raw(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    server: asyncio.StreamReader,
    upstream: asyncio.StreamWriter,
) -> None:
    """Relay both ways until both sides are done: an upgraded connection."""

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65536):
            sink.write(piece)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()

    await asyncio.gather(copy(reader, upstream), copy(server, writer))


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, by RST where the transport knows it."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            no_linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    writer.transport.abort()
