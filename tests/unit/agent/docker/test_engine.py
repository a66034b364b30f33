"""What becomes of the connection to a Docker Engine."""

import asyncio
from contextlib import aclosing
from pathlib import Path

from towline.agent.docker.engine import Engine

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_pull_that_is_left_ends_at_the_engine(tmp_path: Path) -> None:
    """The engine breaks a pull off when the connection is closed, and not before."""
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                if b"/version" in request:
                    body = b'{"ApiVersion": "1.41", "Version": "20"}'
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                    writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
                else:
                    line = b'{"status": "Downloading", "id": "a"}\r\n'
                    writer.write(HEAD + b"%x\r\n%b\r\n" % (len(line), line))
                await writer.drain()
        except asyncio.IncompleteReadError:
            hung_up.set()
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "d.sock")
    engine = Engine(f"unix://{tmp_path}/d.sock")
    begun = asyncio.Event()

    async def pull() -> None:
        async with aclosing(engine.pull("localhost:5000/a", "1.0")) as messages:
            async for _ in messages:
                begun.set()

    for leave in ("cancelled", "closed"):
        begun.clear()
        hung_up.clear()
        if leave == "cancelled":
            pulling = asyncio.create_task(pull())
            await begun.wait()
            assert not hung_up.is_set()
            pulling.cancel()
            await asyncio.wait([pulling])
        else:
            messages = engine.pull("localhost:5000/a", "1.0")
            await anext(messages)
            assert not hung_up.is_set()
            await messages.aclose()
        async with asyncio.timeout(10):
            await hung_up.wait()
    await engine.close()
    server.close()
