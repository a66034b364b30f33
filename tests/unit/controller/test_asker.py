"""A wait for an answer ends with its client, however often and whenever that is said."""

import asyncio

from towline.controller.asker import Asker, asking, while_asked


async def test_a_wait_is_broken_off_when_its_client_leaves() -> None:
    asker = Asker()
    with asking(asker):
        waiting = asyncio.create_task(while_asked(60, asyncio.Event().wait()))
        await asyncio.sleep(0)
        asker.leave()
        assert await waiting is False
        assert await while_asked(60, asyncio.Event().wait()) is False


async def test_a_client_may_leave_twice() -> None:
    asker = Asker()
    with asking(asker):
        waiting = asyncio.create_task(while_asked(60, asyncio.Event().wait()))
        await asyncio.sleep(0)
        asker.leave()
        # As a connection that is refused and then closed does: the time-out has begun, and the
        # wait has not ended.
        errors: list[dict[str, object]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: errors.append(context))
        loop.call_soon(asker.leave)
        assert await waiting is False
        assert errors == []


async def test_what_comes_in_time_is_awaited() -> None:
    asker, came = Asker(), asyncio.Event()
    with asking(asker):
        waiting = asyncio.create_task(while_asked(60, came.wait()))
        await asyncio.sleep(0)
        came.set()
        assert await waiting is True
        asker.leave()
