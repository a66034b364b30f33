"""What a part sends to its service manager while it starts."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.up import ServiceManager
from towline.runtime.process import notify, starting


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    with ServiceManager(str(tmp_path / "notify")) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        yield manager


async def received(manager: ServiceManager, line: str, times: int) -> None:
    """Return when the service manager has received a line so many times."""
    while manager.count(line) < times:
        await asyncio.sleep(0.01)


async def test_a_start_asks_for_more_time_again_before_that_is_over(
    manager: ServiceManager,
) -> None:
    with starting("waiting", every=0.01):
        await received(manager, "EXTEND_TIMEOUT_USEC=30000", 3)
        assert manager.count("STATUS=waiting") == 1


async def test_what_is_ready_asks_for_no_more_time(manager: ServiceManager) -> None:
    with starting("waiting", every=0.01) as ready:
        await received(manager, "EXTEND_TIMEOUT_USEC=30000", 1)
        ready()
        await received(manager, "READY=1", 1)
        before = manager.count("EXTEND_TIMEOUT_USEC=30000")
        await asyncio.sleep(0.1)
        assert manager.count("EXTEND_TIMEOUT_USEC=30000") == before
        assert manager.received[-1].lines == ("READY=1", "STATUS=ready")


async def test_a_start_that_is_broken_off_was_never_ready(manager: ServiceManager) -> None:
    with pytest.raises(LookupError), starting("waiting", every=0.01):
        raise LookupError
    notify("STATUS=over")
    await asyncio.sleep(0.1)
    await received(manager, "STATUS=over", 1)
    assert manager.received[-1].lines == ("STATUS=over",)
    assert manager.count("READY=1") == 0
