"""The load generator: it shares the machine with what it measures, and does as little as it can."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tests.testing.process import Failed


class Client(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection that sends prepared bytes and waits for the answer."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by name only

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"closed before the answer: {error}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = bytes(self._received[:end]).lower()
        body = bytes(self._received[end + 4 :])
        _, known, length = head.partition(b"\r\ncontent-length:")
        if len(body) < int(length.partition(b"\r\n")[0]) if known else body[-5:] != b"0\r\n\r\n":
            return
        self._received.clear()
        self._answer.set_result((int(head[9:12]), body))

    async def ask(self, request: bytes, status: int, promise: bytes) -> None:
        """Send a request; raise Failed unless the answer has this status and holds `promise`."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        found, body = await self._answer
        if found != status or promise not in body:
            raise Failed(f"{request[:80]!r}: {found} {body[:500]!r}")

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


@dataclass(frozen=True)
class Exchange:
    """What one client does again and again: requests in a row, on one connection of its own.

    Each client does one of the variants.
    """

    address: Path | int
    variants: Sequence[Sequence[tuple[bytes, int, bytes]]]

    async def connect(self) -> Client:
        """Open a connection to do it on."""
        loop = asyncio.get_running_loop()
        if isinstance(self.address, Path):
            return (await loop.create_unix_connection(Client, str(self.address)))[1]
        return (await loop.create_connection(Client, "127.0.0.1", self.address))[1]

    async def run(self, client: Client, number: int = 0) -> float:
        """Do it once, as this client does it, and return the seconds it took."""
        begun = time.perf_counter()
        for request, status, promise in self.variants[number % len(self.variants)]:
            await client.ask(request, status, promise)
        return time.perf_counter() - begun


def request(method: str, path: str, *headers: str, body: str = "") -> bytes:
    """Return the bytes of an HTTP request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", *headers]
    if method == "POST":
        lines.append(f"Content-Length: {len(body.encode())}")
    return "\r\n".join([*lines, "", body]).encode()


async def in_turn(exchanges: Sequence[Exchange], count: int) -> list[list[float]]:
    """Let one client do the exchanges by turns, `count` times each; return the seconds of each."""
    clients = [await exchange.connect() for exchange in exchanges]
    taken: list[list[float]] = [[] for _ in exchanges]
    for _ in range(count):
        for exchange, client, seconds in zip(exchanges, clients, taken, strict=True):
            seconds.append(await exchange.run(client))
    for client in clients:
        client.close()
    return taken


async def at_once(
    exchange: Exchange, clients: int, *, seconds: float = float("inf"), count: float = float("inf")
) -> tuple[list[float], float]:
    """Let many clients do an exchange side by side, until `seconds` or `count` are over.

    Returns the seconds that each took, and those that all took together.
    """
    connections = [await exchange.connect() for _ in range(clients)]
    taken: list[float] = []
    begun = time.perf_counter()

    async def work(number: int, client: Client) -> None:
        nonlocal count
        while count > 0 and time.perf_counter() - begun < seconds:
            count -= 1
            taken.append(await exchange.run(client, number))

    await asyncio.gather(*(work(*each) for each in enumerate(connections)))
    elapsed = time.perf_counter() - begun
    for client in connections:
        client.close()
    return taken, elapsed
