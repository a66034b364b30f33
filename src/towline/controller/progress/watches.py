"""Watching jobs: a controller receives the progress of nodes while somebody follows, and only then.

Which of several controllers that is makes no difference: nodes send to all that subscribe, and send
again when a controller asks that has just subscribed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from towline.broker.connection import Connection
from towline.broker.listener import Listener, Received
from towline.controller.fleet import Fleet
from towline.controller.jobs.indexer import Indexer, Pulse
from towline.controller.jobs.lookup import Lookup
from towline.controller.progress.picture import Picture
from towline.errors import NotFound
from towline.runtime.part import keep_running
from towline.runtime.pauses import within
from towline.trust.signing import Signer, order_for
from towline.wire import messages
from towline.wire.event import Event
from towline.wire.release import Refresh
from towline.wire.subjects import progress_subject, task_subject

LOOK_EVERY = 1.0
"""Seconds between looks for what no event reports: nodes that are away, jobs that expire."""
ASK_EVERY = 3.0
"""Seconds after which nodes are asked again that run a job and have reported nothing."""
ANSWERS_WITHIN = 0.8
"""Seconds that a follower who comes first waits for the nodes' reports: each sends two a second."""


class Watch:
    """A job that somebody follows.

    Attributes:
        pulse: beats when there is news.
        reports: receives what nodes report of it.
    """

    def __init__(self, picture: Picture, connection: Connection) -> None:
        self.picture = picture
        self.pulse = Pulse()
        self.followers = 0
        self.reports = Listener(connection, progress_subject("*", self.job), self._receive)
        self.asked_at = float("-inf")
        self.answered = asyncio.Event()

    @property
    def job(self) -> str:
        """The job's id."""
        return self.picture.state.job.id

    def _receive(self, received: Received) -> None:
        self.picture.report(*messages.progress(received.subject, received.data))
        self.news()

    def news(self) -> None:
        """Wake those who follow."""
        if not self.picture.silent:
            self.answered.set()
        self.pulse.beat()


class Watches:
    """The jobs that somebody follows at this controller.

    Args:
        signer: signs what is sent.
        lookup: finds the jobs that are followed.
    """

    def __init__(
        self,
        connection: Connection,
        signer: Signer,
        indexer: Indexer,
        lookup: Lookup,
        fleet: Fleet,
    ) -> None:
        self._connection = connection
        self._signer = signer
        self._lookup = lookup
        self._fleet = fleet
        self._watches: dict[str, Watch] = {}
        self._wake = asyncio.Event()
        self._unreadable = 0
        indexer.subscribe(self._event_folded)

    @property
    def unreadable(self) -> int:
        """How many messages about progress could not be read."""
        return self._unreadable + sum(each.reports.unreadable for each in self._watches.values())

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
            watch = self._watches[job_id] = Watch(Picture(state), self._connection)
            self._look(watch)
            self._wake.set()
        watch.followers += 1
        try:
            if watch.picture.silent:
                await within(ANSWERS_WITHIN, watch.answered.wait())
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
        listening: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self._wake.clear()
                for job, watch in list(self._watches.items()):
                    if not watch.followers:
                        del self._watches[job]
                        self._unreadable += watch.reports.unreadable
                        if job in listening:
                            listening.pop(job).cancel()
                    elif not watch.picture.state.done:
                        if job not in listening:
                            listening[job] = asyncio.create_task(self._listen(watch))
                        await self._turn(watch)
                await within(LOOK_EVERY if self._watches else None, self._wake.wait())
        finally:
            for task in listening.values():
                task.cancel()

    async def _listen(self, watch: Watch) -> None:
        """Receive what is reported of one job, and ask for it once that is received."""
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_running("progress", watch.reports.run))
            await watch.reports.ready.wait()
            self._wake.set()

    async def _turn(self, watch: Watch) -> None:
        """See what no event reports, and ask who is silent."""
        self._look(watch)
        now = time.monotonic()
        silent = watch.picture.silent and now - watch.asked_at > ASK_EVERY
        if silent and watch.reports.ready.is_set():
            watch.asked_at = now
            await self._refresh(watch)

    async def _refresh(self, watch: Watch) -> None:
        """Ask the nodes that run a job and have reported nothing how far they are."""
        for machine in list(watch.picture.silent):
            member = self._fleet.get(machine)
            if member is not None and member.here:
                order = Refresh(watch.job, machine, time.time())
                subject = task_subject(machine, member.start)
                message = self._signer.seal(order, order_for(subject, ""))
                await self._connection.publish(subject, message)
