"""A value that can't be stored keeps no other from being stored."""

import asyncio
from collections.abc import Sequence

from structlog.testing import capture_logs

from towline.controller.jobs.recorder import Recorder
from towline.errors import BrokerUnreachable


async def test_one_value_that_can_t_be_encoded_is_left_out_of_its_group() -> None:
    stored: list[int] = []
    settled: dict[int, Exception | None] = {}

    async def append(values: Sequence[int], message_id: str) -> int:
        if 13 in values:
            raise RecursionError("too deep")
        stored.extend(values)
        return 1

    recorder = Recorder[int](append)
    for value in range(20):
        recorder.add(value, 1, lambda error, value=value: settled.update({value: error}))  # type: ignore[misc]
    running = asyncio.create_task(recorder.run())
    with capture_logs() as logs:
        async with asyncio.timeout(30):
            while len(settled) < 20:
                await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert sorted(stored) == [value for value in range(20) if value != 13]
    assert [value for value, error in settled.items() if error is not None] == [13]
    assert [line["event"] for line in logs] == ["group not stored"]


async def test_without_an_answer_nothing_is_stored_twice() -> None:
    calls: list[int] = []

    async def append(values: Sequence[int], message_id: str) -> int:
        calls.append(len(values))
        raise BrokerUnreachable("The broker is out of reach.", "no answer")

    errors: list[Exception | None] = []
    recorder = Recorder[int](append)
    for value in range(4):
        recorder.add(value, 1, errors.append)
    running = asyncio.create_task(recorder.run())
    async with asyncio.timeout(30):
        while len(errors) < 4:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert calls == [4]
