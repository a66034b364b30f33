"""What one caller has under way takes nothing from others."""

import asyncio
import contextlib

import httpx
import pytest

from tests.system.limits.conftest import REQUESTS, STREAMS, pull
from tests.testing.answers import refused
from tests.testing.attack import Sender, answered, meanwhile
from tests.testing.cluster import WEB_1, Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until

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


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_request_whose_client_has_hung_up_counts_no_more(
    guarded: Cluster, gate: Gate, method: str
) -> None:
    token = guarded.token("admin", subject=f"hasty-{method}")
    with gate.name() as name:
        gate.hold(name)
        body = f'{{"name": "{name}"}}' if method == "POST" else ""
        path = f"/node/{WEB_1}/gate" + ("/pass" if method == "POST" else f"?name={name}")
        request = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"Prefer: wait=600\r\n\r\n{body}"
        )
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=guarded.url, headers=headers, timeout=60) as client:

            async def status() -> int:
                return (await client.get("/agent")).status_code

            async with contextlib.AsyncExitStack() as opened, asyncio.timeout(60):
                for _ in range(REQUESTS):
                    sender = await opened.enter_async_context(Sender(guarded))
                    await sender.send(request.encode())
                while await status() != 429:
                    await asyncio.sleep(0.05)
            async with asyncio.timeout(60):
                while await status() != 200:
                    await asyncio.sleep(0.05)
        # What was asked for goes on.
        gate.open(name)
        await asyncio.to_thread(
            wait_until, lambda: gate.passed(name, WEB_1) > 0, what="the node to go on"
        )
