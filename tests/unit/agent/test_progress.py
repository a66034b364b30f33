"""When the progress of a task is sent."""

import asyncio

import pytest

from tests.testing.doubles import ConnectionDouble, until
from tests.testing.ledger import numbered
from towline.agent.progress import PACE, Progress, ProgressSender
from towline.wire.progress import TaskProgress

JOB = numbered(1)


def progress(newest: bytes, sent: bytes) -> Progress:
    made = Progress("progress.m.j", 50.0, pace=0.5)
    made.newest, made.sent, made.sent_at = newest, sent, 100.0
    return made


def test_the_first_one_is_sent_when_the_task_is_not_soon_over() -> None:
    made = Progress("progress.m.j", 50.0, pace=0.5)
    made.newest = b"1"
    assert made.due_at == 50.5


def test_what_is_new_is_sent_but_not_more_than_two_a_second() -> None:
    assert PACE == 0.5
    assert progress(b"2", sent=b"1").due_at == 100.5


def test_what_is_not_new_is_sent_again_only_now_and_then() -> None:
    assert progress(b"1", sent=b"1").due_at == 110.0


def test_whoever_asks_is_answered_as_soon_as_anything_new_would_be_sent() -> None:
    assert progress(b"1", sent=b"").due_at == 100.5


@pytest.mark.parametrize("away", [False, True])
async def test_the_newest_is_sent_and_again_when_asked_or_when_the_broker_is_back(
    away: bool,
) -> None:
    connection = ConnectionDouble()
    received = connection.controllers.progress
    sender = ProgressSender(connection, "a", pace=0.01)
    running = asyncio.create_task(sender.run())
    first, second = TaskProgress("preparing"), TaskProgress("downloading", fetched=5)
    sender.send(JOB, first)
    await until(lambda: received == [first])
    sender.send(JOB, first)
    sender.send(JOB, second)
    await until(lambda: received == [first, second])
    sender.refresh(numbered(2))
    if away:
        connection.there = False
        await asyncio.sleep(0.05)
        connection.there = True
    else:
        sender.refresh(JOB)
    await until(lambda: received == [first, second, second])
    sender.end(JOB)
    sender.refresh(JOB)
    await asyncio.sleep(0.05)
    assert (len(received), connection.published[0][0]) == (3, f"progress.a.{JOB}")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
