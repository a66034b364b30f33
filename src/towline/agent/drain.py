"""Whether people have drained this node: then it takes no `_any` jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import nats.errors
import structlog
from nats.aio.msg import Msg

from towline.broker.answers import BrokerRefused
from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.errors import BrokerUnreachable
from towline.wire.node import NodeState
from towline.wire.subjects import STATES, state_subject

log = structlog.get_logger()

RETRY_EVERY = 0.5


class Drain:
    """Follows what is decided about one node.

    Attributes:
        drained: whether it is drained, as far as is known.

    Args:
        changed: called when that has changed.
        retry_every: seconds between attempts to learn it.
    """

    def __init__(
        self,
        jetstream: JetStream,
        machine: str,
        changed: Callable[[], None],
        *,
        retry_every: float = RETRY_EVERY,
    ) -> None:
        self._jetstream = jetstream
        self._states = Bucket(jetstream, STATES, NodeState)
        self._machine = machine
        self._changed = changed
        self._retry_every = retry_every
        self._stale = asyncio.Event()
        self.drained = False

    def check(self) -> None:
        """Look again: a job says that the node is drained."""
        self._stale.set()

    async def run(self) -> None:
        """Look at each connection, and whenever a controller says so, for ever."""

        async def changed(_: Msg) -> None:
            self._stale.set()

        while True:
            client = await self._jetstream.connection.client()
            lost = asyncio.create_task(self._jetstream.connection.lost())
            lost.add_done_callback(lambda _: self._stale.set())
            try:
                await client.subscribe(state_subject(self._machine), cb=changed)
                while not lost.done():
                    self._stale.clear()
                    await self._look()
                    await self._stale.wait()
            except (BrokerUnreachable, BrokerRefused, nats.errors.Error, OSError) as error:
                log.warning("state not known", reason=str(error))
                await asyncio.sleep(self._retry_every)
            finally:
                lost.cancel()

    async def _look(self) -> None:
        entry = await self._states.get_nearby(self._machine)
        drained = False
        if entry is not None:
            if entry.value is None:
                return
            drained = entry.value.drained is not None
        if drained != self.drained:
            self.drained = drained
            log.info("node drained" if drained else "node undrained")
            self._changed()
