"""What a part that waits says to its service manager."""

import asyncio
from pathlib import Path

import pytest

from tests.testing.up import ServiceManager
from towline.runtime.process import notify_starting


async def test_a_start_that_takes_long_is_said_again_in_less_time_than_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ServiceManager(str(tmp_path / "notify")) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        starting = asyncio.create_task(notify_starting("waiting", every=0.01))
        while manager.count("EXTEND_TIMEOUT_USEC=30000") < 3:
            await asyncio.sleep(0.01)
        starting.cancel()
        assert manager.count("STATUS=waiting") >= 3
