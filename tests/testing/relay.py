"""A TCP relay, for faults below any protocol."""

import asyncio
from types import TracebackType
from typing import Self

from tests.testing.ports import free_port


class _Pair:
    """One connection through the relay."""

    def __init__(
        self,
        source: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        self.source = source
        self.client = client
        self.server = server
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.deaf = False

    @property
    def open(self) -> bool:
        return not self.source.at_eof() and not self.client.transport.is_closing()

    def abort(self) -> None:
        self.flowing.set()
        for side in (self.client, self.server):
            side.transport.abort()


class Relay:
    """Relays TCP connections to a port on loopback, until it is set not to.

    It lives in the event loop that enters it. What is done to its connections is done to those
    that there are: later ones are relayed faithfully, unless `silent` is set.

    Attributes:
        accepted: how many connections there have ever been.
        silent: whether new connections are accepted, but nothing is relayed on them.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self.port = free_port()
        self.accepted = 0
        self.silent = False
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it stands in place of a NATS server."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections their clients have not ended."""
        return sum(pair.open for pair in self._pairs)

    def cut(self) -> None:
        """Reset all connections."""
        for pair in self._pairs:
            pair.abort()

    def stall(self) -> None:
        """Take and pass nothing more on the connections, as if a cable had been pulled."""
        for pair in self._pairs:
            pair.flowing.clear()

    def deafen(self) -> None:
        """Pass on what clients send, and lose what they are answered."""
        for pair in self._pairs:
            pair.deaf = True

    def inject(self, data: bytes) -> None:
        """Send something to the server in the clients' names."""
        for pair in self._pairs:
            pair.server.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            upstream, to_server = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            self._tasks.discard(task)
            return
        pair = _Pair(reader, writer, to_server)
        if self.silent:
            pair.flowing.clear()
        self._pairs.add(pair)
        try:
            ways = [self._copy(pair, reader, to_server), self._copy(pair, upstream, writer)]
            done, rest = await asyncio.wait(
                [asyncio.create_task(way) for way in ways], return_when=asyncio.FIRST_COMPLETED
            )
            for way in rest:
                way.cancel()
            await asyncio.gather(*done, *rest, return_exceptions=True)
        except asyncio.CancelledError:  # by the end; nobody waits for this task's word
            pass
        finally:
            pair.abort()
            self._pairs.discard(pair)
            self._tasks.discard(task)

    async def _copy(
        self, pair: _Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        while True:
            await pair.flowing.wait()
            piece = await source.read(65536)
            if not piece:
                return
            await pair.flowing.wait()
            if not (pair.deaf and sink is pair.client):
                sink.write(piece)
                await sink.drain()
