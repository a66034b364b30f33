"""What one caller has under way takes nothing from others."""

import asyncio
import contextlib

import httpx

from tests.system.limits.conftest import REQUESTS, STREAMS, pull
from tests.testing.answers import refused
from tests.testing.attack import Sender, answered, meanwhile
from tests.testing.cluster import Cluster

LAST = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_a_caller_has_so_many_requests_under_way_and_another_has_its_own(
    guarded: Cluster,
) -> None:
    head = pull(guarded.token("write", subject="busy"))
    async with contextlib.AsyncExitStack() as opened, meanwhile(guarded):
        for _ in range(REQUESTS):
            sender = await opened.enter_async_context(Sender(guarded))
            await sender.send(head)
            await answered(guarded)
        async with Sender(guarded) as one_more:
            await one_more.send(
                head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"x" * 1000
            )
            answer = await one_more.answer()
        assert f"'busy' has {REQUESTS} requests under way" in refused(answer, 429)
        assert answer.headers["Retry-After"] == "1"


async def test_a_caller_follows_so_many_streams_and_goes_on_when_one_has_ended(
    guarded: Cluster,
) -> None:
    token = guarded.token("read", subject="watcher")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=guarded.url, headers=headers, timeout=60) as client:
        async with contextlib.AsyncExitStack() as opened, meanwhile(guarded):
            for _ in range(STREAMS):
                stream = await opened.enter_async_context(client.stream("GET", "/event"))
                assert stream.status_code == 200
            answer = await client.get("/event")
            assert f"'watcher' has {STREAMS} streams of events" in refused(answer, 429)
            assert (await client.get("/job")).status_code == 200
        async with asyncio.timeout(30):
            while True:
                async with client.stream("GET", "/event") as stream:
                    if stream.status_code == 200:
                        return
