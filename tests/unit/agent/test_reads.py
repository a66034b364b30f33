"""Reads, which are answered past the ledger."""

from tests.testing.doubles import AWAY, DeliveryDouble, until
from tests.testing.ledger import on_disk
from tests.unit.agent.conftest import Body, Middle
from towline.operation import Effect
from towline.wire.event import COMPLETED


async def test_a_read_is_acknowledged_once_its_answer_is_stored(middle: Middle) -> None:
    job = middle.job(Effect.READ)
    middle.journal.gate.clear()
    delivery = DeliveryDouble(job)
    await middle.reads.take(delivery)
    await until(lambda: middle.executor.runs(job.id))
    assert not delivery.acknowledged
    middle.journal.gate.set()
    await until(lambda: delivery.acknowledged)
    assert middle.ends(job) == [(COMPLETED, None)]
    assert on_disk(middle.path) == (set(), set())


async def test_a_read_that_was_answered_is_not_done_again(middle: Middle, body: Body) -> None:
    job = middle.job(Effect.READ)
    deliveries = [DeliveryDouble(job), DeliveryDouble(job)]
    for delivery in deliveries:
        await middle.reads.take(delivery)
        await until(lambda: not middle.executor.runs(job.id))
    assert [delivery.acknowledged for delivery in deliveries] == [1, 1]
    assert body.begun == 1


async def test_a_read_that_expired_long_ago_is_not_done(middle: Middle, body: Body) -> None:
    delivery = DeliveryDouble(middle.job(Effect.READ, expires=1.0))
    await middle.reads.take(delivery)
    assert (delivery.acknowledged, body.begun) == (1, 0)


async def test_a_read_whose_answer_cannot_be_stored_may_be_delivered_again(
    middle: Middle, body: Body
) -> None:
    job = middle.job(Effect.READ)
    middle.journal.failing = AWAY
    delivery = DeliveryDouble(job)
    await middle.reads.take(delivery)
    await until(lambda: not middle.executor.runs(job.id))
    assert not delivery.acknowledged
    middle.journal.failing = None
    await middle.reads.take(delivery)
    await until(lambda: delivery.acknowledged)
    assert middle.ends(job) == [(COMPLETED, None)]


async def test_an_agent_that_ends_leaves_its_reads_to_others(middle: Middle, body: Body) -> None:
    body.gate.clear()
    delivery = DeliveryDouble(middle.job(Effect.READ))
    await middle.reads.take(delivery)
    await until(lambda: body.begun)
    await middle.executor.close()
    assert (delivery.refused, delivery.acknowledged) == (1, 0)
