"""Parts, and what becomes of them when something breaks that nobody expected to."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from towline.runtime.part import keep_running


class Part:
    """Breaks as often as it is asked to, then runs on."""

    def __init__(self, *faults: BaseException | None) -> None:
        self.faults = list(faults)
        self.lasting = asyncio.Event()

    async def run(self) -> None:
        if self.faults:
            fault = self.faults.pop(0)
            if fault is not None:
                raise fault
            return
        self.lasting.set()
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def kept(part: Part):  # type: ignore[no-untyped-def]
    keeping = asyncio.create_task(keep_running("part", part.run, shortest_pause=0.0))
    try:
        yield keeping
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


@pytest.mark.parametrize(
    "fault",
    [lambda: ValueError("nobody expected this"), asyncio.CancelledError, lambda: None],
    ids=["an error", "a cancellation that nobody asked for", "an end"],
)
async def test_a_part_that_breaks_off_is_logged_and_begun_anew(
    fault: Callable[[], BaseException | None],
) -> None:
    part = Part(fault(), fault())
    with capture_logs() as logs:
        async with kept(part):
            await part.lasting.wait()
    assert [(entry["log_level"], entry["part"]) for entry in logs] == [("error", "part")] * 2


async def test_a_part_that_breaks_off_says_where() -> None:
    part = Part(ValueError("nobody expected this"))
    with capture_logs() as logs:
        async with kept(part):
            await part.lasting.wait()
    assert [(entry["event"], entry["exc_info"]) for entry in logs] == [("part broke off", True)]


async def test_a_part_ends_when_the_agent_does() -> None:
    part = Part()
    async with kept(part) as keeping:
        await part.lasting.wait()
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
