"""Reads: answered past the ledger, since nothing is lost if they are not."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

import structlog

from towline.agent.delivery import Delivery
from towline.agent.executor import Executor
from towline.agent.outbox import Outbox
from towline.broker.answers import BrokerRefused
from towline.broker.clock import Clock
from towline.errors import BrokerUnreachable

log = structlog.get_logger()

ANSWERED_REMEMBERED = 1000
"""Ids of answered reads kept in memory against a second delivery."""
LONG_PAST = 60.0
"""Seconds past which an expired read is no news: a consumer that was made anew brings those that
were answered long ago again."""


class Reads:
    """Answers jobs that only read.

    Args:
        clock: by it jobs expire.
    """

    def __init__(self, executor: Executor, outbox: Outbox, clock: Clock) -> None:
        self._executor = executor
        self._outbox = outbox
        self._clock = clock
        self._answered: OrderedDict[str, None] = OrderedDict()

    async def take(self, delivery: Delivery) -> None:
        """Begin to answer a job, unless it was answered; acknowledged once the journal has that."""
        job = delivery.job
        if job.id in self._answered or self._clock.now() > job.expires + LONG_PAST:
            await delivery.acknowledge()
        else:
            self._executor.spawn(job, self._answer(delivery))

    async def _answer(self, delivery: Delivery) -> None:
        job = delivery.job
        begun = time.monotonic()
        extending = asyncio.create_task(delivery.extend())
        try:
            event = self._executor.refusal(job, None) or await self._executor.execute(job, None)
            self._executor.log_end(job, event, begun)
            await self._outbox.answer(event)
        except (BrokerUnreachable, BrokerRefused) as error:
            # Not acknowledged: it is delivered again when the broker is back, if still wanted.
            log.warning("answer not delivered", job=job.id, reason=error.details)
            return
        except asyncio.CancelledError:
            # This agent ends: another node may take it over at once.
            await delivery.refuse()
            raise
        finally:
            extending.cancel()
        self._answered[job.id] = None
        if len(self._answered) > ANSWERED_REMEMBERED:
            self._answered.popitem(last=False)
        await delivery.acknowledge()
