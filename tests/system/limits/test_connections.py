"""Connections that are open for nothing take no place from others."""

import asyncio
import contextlib

import pytest

from tests.system.limits.conftest import CONNECTIONS
from tests.testing.answers import refused
from tests.testing.attack import Sender, meanwhile
from tests.testing.cluster import WEB_1, Cluster

REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_an_address_has_so_many_connections_and_another_has_its_own(
    guarded: Cluster,
) -> None:
    async with contextlib.AsyncExitStack() as opened, meanwhile(guarded):
        for _ in range(CONNECTIONS):
            await opened.enter_async_context(Sender(guarded))
        async with Sender(guarded) as one_more:
            await one_more.send(REQUEST)
            answer = await one_more.answer()
        assert f"has {CONNECTIONS} connections" in refused(answer, 429)
        assert answer.headers["Retry-After"] == "1"
    async with Sender(guarded) as later:
        await later.send(REQUEST)
        assert (await later.answer()).status_code == 200


@pytest.mark.parametrize("address", ["127.0.0.3", "127.0.4.9"])
async def test_a_trusted_proxy_may_have_more(guarded: Cluster, address: str) -> None:
    async with contextlib.AsyncExitStack() as opened:
        for _ in range(CONNECTIONS):
            await opened.enter_async_context(Sender(guarded, address))
        async with Sender(guarded, address) as one_more:
            await one_more.send(REQUEST)
            assert (await one_more.answer()).status_code == 200


async def test_a_controller_with_few_files_keeps_those_that_it_needs(
    few_files: Cluster,
) -> None:
    """Of 2,000 connections from many addresses it takes as many as it can."""

    async def occupy(address: str) -> None:
        with contextlib.suppress(OSError):
            await opened.enter_async_context(Sender(few_files, address))

    async with contextlib.AsyncExitStack() as opened:
        async with asyncio.TaskGroup() as group:
            for number in range(2_000):
                group.create_task(occupy(f"127.0.5.{number % 20 + 1}"))
        async with Sender(few_files) as one_more:
            await one_more.send(REQUEST)
            assert "as many as it takes" in refused(await one_more.answer(), 503)
        # It can still begin what needs descriptors: the broker is gone and comes back.
        few_files.broker.stop()
        few_files.broker.start()
        few_files.wait_here(WEB_1)
