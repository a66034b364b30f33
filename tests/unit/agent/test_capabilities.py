"""What a node offers, and whether it works."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.testing.doubles import ProviderDouble
from towline.agent.capabilities import Capabilities
from towline.agent.ledger import Ledger
from towline.operation import NODE


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


def works(capabilities: Capabilities, name: str) -> bool:
    return capabilities.troubles.get(name) == ""


class Changes:
    """Counts changes, and waits until something has come about with one."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def running(capabilities: Capabilities) -> AsyncIterator[None]:
    task = asyncio.create_task(capabilities.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def watching(ledger: Ledger, *providers: ProviderDouble, changes: Changes) -> Capabilities:
    return Capabilities(ledger, providers, changes, probe_every=0.01, probe_within=0.1)


async def test_a_node_offers_what_its_providers_bring(ledger: Ledger) -> None:
    machine, docker, systemd = (ProviderDouble(name) for name in (NODE, "docker", "systemd"))
    systemd.offered = False
    capabilities = watching(ledger, machine, docker, systemd, changes=Changes())
    await capabilities.probe()
    assert capabilities.names == [NODE, "docker", "systemd"]
    assert capabilities.troubles == {NODE: "", "docker": ""}
    assert works(capabilities, "docker")
    assert not capabilities.offers("systemd")
    assert not capabilities.offers("podman")


async def test_what_was_not_looked_at_yet_does_not_work(ledger: Ledger) -> None:
    capabilities = watching(ledger, ProviderDouble(), changes=Changes())
    assert capabilities.offers("docker")
    assert not works(capabilities, "docker")


async def test_each_change_of_a_provider_is_seen_once(ledger: Ledger) -> None:
    provider, changes = ProviderDouble(), Changes()
    capabilities = watching(ledger, provider, changes=changes)
    async with running(capabilities):
        await changes.until(lambda: works(capabilities, "docker"))
        provider.trouble = "it is away"
        await changes.until(lambda: capabilities.trouble("docker") == "it is away")
        before = provider.probes
        while provider.probes < before + 3:
            await asyncio.sleep(0.01)
        assert changes.count == 2
        provider.trouble = ""
        provider.offered = False
        await changes.until(lambda: not capabilities.offers("docker"))
    assert changes.count == 3


@pytest.mark.parametrize(
    "fault",
    [KeyError("ApiVersion"), TypeError("'NoneType' object is not subscriptable"), OSError()],
)
async def test_a_provider_that_breaks_off_is_trouble_and_is_looked_at_again(
    ledger: Ledger, fault: Exception
) -> None:
    provider, other, changes = ProviderDouble(), ProviderDouble("systemd"), Changes()
    provider.fault = fault
    capabilities = watching(ledger, provider, other, changes=changes)
    with capture_logs() as logs:
        async with running(capabilities):
            await changes.until(lambda: "unexpected" in capabilities.trouble("docker"))
            assert type(fault).__name__ in capabilities.trouble("docker")
            await changes.until(lambda: works(capabilities, "systemd"))
            provider.fault = None
            await changes.until(lambda: works(capabilities, "docker"))
    broken = [entry for entry in logs if entry["event"] == "provider broke off"]
    assert broken
    assert all(entry["exc_info"] for entry in broken), "without its traceback"


async def test_a_provider_that_never_answers_is_trouble(ledger: Ledger) -> None:
    provider, changes = ProviderDouble(), Changes()
    provider.hangs = True
    capabilities = watching(ledger, provider, changes=changes)
    await capabilities.probe()
    assert capabilities.trouble("docker") == "no answer within 0.1 s"


async def test_a_provider_that_a_task_could_not_reach_is_looked_at_now(ledger: Ledger) -> None:
    provider, changes = ProviderDouble(), Changes()
    capabilities = Capabilities(ledger, [provider], changes, probe_every=3600)
    async with running(capabilities):
        await changes.until(lambda: works(capabilities, "docker"))
        provider.trouble = "it is away"
        capabilities.probe_now("docker")
        capabilities.probe_now(NODE)
        await changes.until(lambda: not works(capabilities, "docker"))


async def test_while_its_ledger_takes_nothing_the_node_does_nothing(
    ledger: Ledger, tmp_path: Path
) -> None:
    machine, provider, changes = ProviderDouble(NODE), ProviderDouble(), Changes()
    capabilities = watching(ledger, machine, provider, changes=changes)
    # Where a file is to be made, which nobody can.
    obstacle = tmp_path / "ledger.sqlite.room"
    obstacle.mkdir()
    ledger._disk.failed = True
    async with running(capabilities):
        await changes.until(lambda: "ledger" in capabilities.trouble(NODE))
        assert "ledger" in capabilities.trouble("docker")
        assert not works(capabilities, "docker")
        obstacle.rmdir()
        await changes.until(lambda: works(capabilities, NODE) and works(capabilities, "docker"))


async def test_a_provider_that_cannot_be_closed_leaves_the_others_theirs(ledger: Ledger) -> None:
    first, second = ProviderDouble(), ProviderDouble("systemd")
    first.fault = RuntimeError("no")
    with capture_logs():
        await watching(ledger, first, second, changes=Changes()).close()
    assert second.closed
