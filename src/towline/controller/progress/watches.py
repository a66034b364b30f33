"""Watching jobs: a controller receives the progress of nodes while somebody follows, and only then.

Which of several controllers that is makes no difference: nodes send to all that subscribe, and send
again when a controller asks that has just subscribed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from towline.broker.connection import Connection
from towline.broker.repeated import Repeated
from towline.controller.fleet import Fleet
from towline.controller.jobs.indexer import Indexer, Pulse
from towline.controller.jobs.lookup import Lookup
from towline.controller.progress.picture import Picture
from towline.errors import BrokerUnreachable, NotFound
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.event import Event
from towline.wire.release import Refresh, seal
from towline.wire.subjects import progress_subject, task_subject

log = structlog.get_logger()

LOOK_EVERY = 1.0
"""Seconds between looks for what no event reports: nodes that are away, jobs that expire."""
ASK_EVERY = 3.0
"""Seconds after which nodes are asked again that run a job and have reported nothing."""
ANSWERS_WITHIN = 0.8
"""Seconds that a follower who comes first waits for the nodes' reports: each sends two a second."""
RETRY_EVERY = 0.5


class Watch:
    """A job that somebody follows.

    Attributes:
        pulse: beats when there is news.
    """

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.pulse = Pulse()
        self.followers = 0
        self.subscription: Subscription | None = None
        self.asked_at = float("-inf")
        self.answered = asyncio.Event()

    @property
    def job(self) -> str:
        """The job's id."""
        return self.picture.state.job.id

    def news(self) -> None:
        """Wake those who follow."""
        if not self.picture.silent:
            self.answered.set()
        self.pulse.beat()


class Watches:
    """The jobs that somebody follows at this controller.

    Args:
        lookup: finds the jobs that are followed.
    """

    def __init__(
        self,
        connection: Connection,
        indexer: Indexer,
        lookup: Lookup,
        fleet: Fleet,
    ) -> None:
        self._connection = connection
        self._lookup = lookup
        self._fleet = fleet
        self._watches: dict[str, Watch] = {}
        self._wake = asyncio.Event()
        self._misread = Repeated("progress not readable")
        self._failures = Repeated("progress not processed")
        self.unreadable = 0
        """How many messages about progress could not be read."""
        indexer.subscribe(self._event_folded)

    def _event_folded(self, event: Event) -> None:
        watch = self._watches.get(event.job)
        if watch is not None:
            watch.picture.apply(event)
            watch.news()

    @contextlib.asynccontextmanager
    async def follow(self, job_id: str) -> AsyncIterator[Watch]:
        """Watch a job while the block goes on.

        The first one to follow waits a moment for the reports of the nodes that run it.

        Raises:
            NotFound: the job is there no more.
        """
        watch = self._watches.get(job_id)
        if watch is None:
            # Nothing is awaited between this and the next event: none is missed.
            state = self._lookup.state(job_id)
            if state is None:
                raise NotFound(f"There is no job {job_id}.", "It may have been deleted")
            watch = self._watches[job_id] = Watch(Picture(state))
            self._look(watch)
            self._wake.set()
        watch.followers += 1
        try:
            if watch.picture.silent:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ANSWERS_WITHIN):
                        await watch.answered.wait()
            yield watch
        finally:
            watch.followers -= 1
            self._wake.set()

    def _look(self, watch: Watch) -> None:
        """See what no event reports."""
        state = watch.picture.state
        for machine in state.unfinished:
            task = state.tasks[machine]
            task.reason = task.waits = None
        self._lookup.explain(state)
        if watch.picture.explained():
            watch.news()

    async def run(self) -> None:
        """Receive what nodes report of the jobs that are followed, for ever."""
        try:
            await self._receive()
        finally:
            self._misread.close()
            self._failures.close()

    async def _receive(self) -> None:
        while True:
            client = await self._connection.client()
            lost = asyncio.create_task(self._connection.lost())
            lost.add_done_callback(lambda _: self._wake.set())
            for watch in self._watches.values():
                watch.subscription = None
            try:
                while not lost.done():
                    await self._turn(client)
            except (BrokerUnreachable, nats.errors.Error, OSError) as error:
                log.warning("progress not received", reason=str(error))
                await asyncio.sleep(RETRY_EVERY)
            finally:
                lost.cancel()

    async def _turn(self, client: Client) -> None:
        """Begin and end what has to be, ask who is silent, and wait until there is more to do."""
        self._wake.clear()
        now = time.monotonic()
        for watch in list(self._watches.values()):
            if not watch.followers:
                del self._watches[watch.job]
                if watch.subscription is not None:
                    await watch.subscription.unsubscribe()
                continue
            if watch.picture.state.done:
                continue
            begun = watch.subscription is None
            if begun:
                watch.subscription = await self._subscribe(client, watch)
            self._look(watch)
            if begun or (watch.picture.silent and now - watch.asked_at > ASK_EVERY):
                watch.asked_at = now
                await self._refresh(watch)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY if self._watches else None):
                await self._wake.wait()

    async def _refresh(self, watch: Watch) -> None:
        """Ask the nodes that run a job and have reported nothing how far they are."""
        for machine in list(watch.picture.silent):
            member = self._fleet.get(machine)
            if member is not None and member.here:
                order = Refresh(watch.job, machine, time.time())
                await self._connection.publish(task_subject(machine, member.start), seal(order))

    async def _subscribe(self, client: Client, watch: Watch) -> Subscription:
        async def received(message: Msg) -> None:
            try:
                watch.picture.report(*messages.progress(message.subject, message.data))
            except Unreadable as error:
                self.unreadable += 1
                self._misread.warning(subject=message.subject, reason=str(error))
            except Exception as error:  # noqa: BLE001
                # It is logged there.
                self._failures.error(error, subject=message.subject)
            else:
                watch.news()

        return await client.subscribe(progress_subject("*", watch.job), cb=received)
