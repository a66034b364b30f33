"""Reads, which are answered past the ledger."""

import time
from typing import Any

import msgspec

from tests.testing.doubles import until
from tests.testing.ledger import on_disk
from tests.unit.agent.conftest import Body, Middle
from towline.agent.reads import LARGEST_REMEMBERED
from towline.operation import Effect
from towline.wire.event import CANCELLED, COMPLETED, EXPIRED, Event
from towline.wire.job import new_id
from towline.wire.release import Cancellation, Release


def take(middle: Middle, reply: str = "reply.1", **more: Any) -> Release:
    """Have a read answered."""
    release = middle.release(middle.job(Effect.READ, **more))
    middle.reads.take(release, reply)
    return release


def answers(middle: Middle) -> list[tuple[str, str]]:
    """Return what was answered: the subject, and the kind."""
    return [
        (subject, msgspec.json.decode(body, type=Event).kind)
        for subject, body in middle.connection.published
    ]


async def test_a_read_is_answered_where_its_release_says_and_stands_in_no_ledger(
    middle: Middle, body: Body
) -> None:
    take(middle)
    await until(lambda: answers(middle) == [("reply.1", COMPLETED)])
    await middle.ledger.start("none", 1.0)
    assert on_disk(middle.path) == (set(), set())
    assert middle.controllers.reports == []


async def test_a_read_that_was_answered_is_answered_again_from_memory(
    middle: Middle, body: Body
) -> None:
    release = take(middle)
    await until(lambda: not middle.executor.runs(release.id))
    middle.reads.take(release, "reply.2")
    await until(lambda: answers(middle) == [("reply.1", COMPLETED), ("reply.2", COMPLETED)])
    assert body.begun == 1


async def test_a_large_answer_is_read_again(middle: Middle, body: Body) -> None:
    body.do = lambda _: "x" * LARGEST_REMEMBERED
    release = take(middle)
    await until(lambda: not middle.executor.runs(release.id))
    middle.reads.take(release, "reply.1")
    await until(lambda: len(answers(middle)) == 2)
    assert body.begun == 2


async def test_a_read_that_is_asked_for_again_meanwhile_is_done_once(
    middle: Middle, body: Body
) -> None:
    body.gate.clear()
    release = take(middle)
    await until(lambda: body.begun)
    for reply in ("reply.2", "reply.1", *(f"more.{number}" for number in range(100))):
        middle.reads.take(release, reply)
    body.gate.set()
    await until(lambda: not middle.executor.runs(release.id))
    assert answers(middle)[:2] == [("reply.1", COMPLETED), ("reply.2", COMPLETED)]
    assert (len(answers(middle)), body.begun) == (8, 1)


async def test_a_read_that_has_expired_is_answered_with_that(middle: Middle, body: Body) -> None:
    take(middle, expires=1e9)
    await until(lambda: answers(middle) == [("reply.1", EXPIRED)])
    assert body.begun == 0


async def test_a_read_can_be_cancelled(middle: Middle, body: Body) -> None:
    body.gate.clear()
    release = take(middle)
    await until(lambda: body.begun)
    order = Cancellation(release.id, "machine-1", "ann", time.time(), 1e9, 2e9)
    assert middle.reads.cancel(order)
    await until(lambda: answers(middle) == [("reply.1", CANCELLED)])
    await until(lambda: not middle.executor.runs(release.id))
    assert middle.reads.cancel(order), "it was answered here"
    assert not middle.reads.cancel(msgspec.structs.replace(order, id=new_id()))


async def test_an_agent_that_ends_answers_nothing(middle: Middle, body: Body) -> None:
    body.gate.clear()
    take(middle)
    await until(lambda: body.begun)
    await middle.executor.close()
    assert answers(middle) == []
