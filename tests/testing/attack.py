"""One client that keeps a controller from its work, and others that ask meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

from tests.testing.cluster import PULL, WEB_1, Cluster
from tests.testing.plain_http import UNENCRYPTED

HERE = "127.0.0.2"
"""The address of whoever attacks: that of all others is 127.0.0.1."""


class Sender:
    """A connection on which a client sends what and when it wants.

    Args:
        cluster: the controller's.
        address: the client's own.
    """

    def __init__(self, cluster: Cluster, address: str = HERE) -> None:
        self._url = httpx.URL(cluster.url)
        self._address = address

    async def __aenter__(self) -> "Sender":
        reader, self._writer = await asyncio.open_connection(
            self._url.host, self._url.port, local_addr=(self._address, 0)
        )
        self._receiving = asyncio.create_task(_receive(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await self._receiving

    async def send(self, data: bytes) -> bool:
        """Send data; return whether the controller still takes it."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            return False
        return not self._receiving.done()

    async def trickle(self, data: bytes, *, every: float = 1.0) -> None:
        """Send a byte now and then, until the controller has enough of it."""
        for byte in data:
            if not await self.send(bytes([byte])):
                return
            await asyncio.sleep(every)

    async def received(self) -> bytes:
        """Return all that is received before the connection ends."""
        return await self._receiving

    async def answer(self) -> httpx.Response:
        """Return what is answered before the connection ends."""
        head, _, body = (await self.received()).partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = [(line.partition(":")[0], line.partition(":")[2].strip()) for line in lines]
        return httpx.Response(int(status.split()[1]), headers=headers, content=body)


async def _receive(reader: asyncio.StreamReader) -> bytes:
    """Receive until the connection ends, in whatever way."""
    received = b""
    with contextlib.suppress(OSError):
        while piece := await reader.read(2**16):
            received += piece
    return received


async def answered(cluster: Cluster, *, read: bool = True) -> None:
    """Check that others are answered: who asks how the controller is, who reads, who pulls."""
    headers = {"Authorization": f"Bearer {cluster.token('write', subject='another')}"}
    async with httpx.AsyncClient(
        base_url=cluster.url, headers=headers, timeout=60, verify=UNENCRYPTED
    ) as client:
        assert (await client.get("/health")).status_code == 200
        if read:
            answer = await client.get(f"/node/{WEB_1}/load")
            assert answer.status_code == 200, answer.text
            answer = await client.post(f"/node/{WEB_1}/{PULL}", json={"image": "any:1"})
            # The node has taken it, and says that it has no engine.
            (result,) = answer.json()["results"]
            assert (answer.status_code, result["status"]) == (202, "skipped"), answer.text


@contextlib.asynccontextmanager
async def meanwhile(cluster: Cluster, *, read: bool = True) -> AsyncIterator[None]:
    """Have others ask all the time while the block goes on, and be answered."""
    over = asyncio.Event()

    async def ask() -> None:
        while True:
            await answered(cluster, read=read)
            if over.is_set():
                return
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask())
        yield
        over.set()


async def at_once(count: int, one: Callable[[Sender], Awaitable[None]], cluster: Cluster) -> None:
    """Have `count` clients do the same at once, each on a connection of its own."""

    async def alone() -> None:
        async with Sender(cluster) as sender:
            await one(sender)

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(alone())
