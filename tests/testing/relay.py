"""A TCP relay, for faults below any protocol."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Self

from tests.testing.ports import free_port


class _Pair:
    """One connection through the relay.

    Attributes:
        user: whom a NATS client logs in as; None before it does.
    """

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
        self.user: str | None = None

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
        barred: the NATS users whose new connections are reset when they log in.
        muted: those on whose new connections nothing is relayed from then on.
        lost: what was not passed on to those that were deafened.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self.port = free_port()
        self.accepted = 0
        self.silent = False
        self.barred: set[str] = set()
        self.muted: set[str] = set()
        self.lost = bytearray()
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
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

    def _of(self, user: str | None) -> list[_Pair]:
        return [pair for pair in self._pairs if user is None or pair.user == user]

    def cut(self, user: str | None = None) -> None:
        """Reset all connections, or those of a NATS user."""
        for pair in self._of(user):
            pair.abort()

    def stall(self, user: str | None = None) -> None:
        """Take and pass nothing more on the connections, as if a cable had been pulled."""
        for pair in self._of(user):
            pair.flowing.clear()

    def resume(self) -> None:
        """Pass on what was held up by stalling."""
        for pair in self._pairs:
            pair.flowing.set()

    def deafen(self, user: str | None = None) -> None:
        """Pass on what clients send, and lose what they are sent."""
        for pair in self._of(user):
            pair.deaf = True

    def heal(self) -> None:
        """Lose nothing any more, as far as connections have survived that."""
        for pair in self._pairs:
            pair.deaf = False

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
            if source is pair.source and pair.user is None:
                pair.user = _login(piece)
                if pair.user in self.barred:
                    return
                if pair.user in self.muted:
                    pair.flowing.clear()
            await pair.flowing.wait()
            if pair.deaf and sink is pair.client:
                self.lost += piece
            else:
                sink.write(piece)
                await sink.drain()


def _login(piece: bytes) -> str | None:
    """Return the user that a NATS client's first line names."""
    line = piece.partition(b"\r\n")[0]
    if not line.startswith(b"CONNECT "):
        return None
    return str(json.loads(line.removeprefix(b"CONNECT ")).get("user"))


class Cable:
    """A relay to a NATS server, in a thread of its own."""

    def __init__(self, upstream: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cable")
        self.relay = Relay(upstream)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.relay.__aenter__(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        leaving = self.relay.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(leaving, self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, what: Callable[[], None]) -> None:
        async def work() -> None:
            what()

        asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    def pull(self) -> None:
        """Let nothing through any more, and nobody know."""
        self.relay.silent = True
        self._do(self.relay.stall)

    def plug(self) -> None:
        """Let new connections through; old ones are known to be dead now."""
        self.relay.silent = False
        self._do(self.relay.cut)

    def deafen(self, user: str) -> None:
        """Lose what a NATS user is sent."""
        self._do(lambda: self.relay.deafen(user))

    def heal(self) -> None:
        """Lose nothing any more."""
        self._do(self.relay.heal)

    def bar(self, user: str) -> None:
        """Reset the connections of a NATS user, and those that it tries to make."""
        self.relay.barred.add(user)
        self._do(lambda: self.relay.cut(user))

    def mute(self, user: str) -> None:
        """Let nothing of a NATS user through any more, and nobody know."""
        self.relay.muted.add(user)
        self._do(lambda: self.relay.stall(user))

    def admit(self, user: str) -> None:
        """Let new connections of a NATS user through; old ones are reset."""
        self.relay.barred.discard(user)
        self.relay.muted.discard(user)
        self._do(lambda: self.relay.cut(user))
