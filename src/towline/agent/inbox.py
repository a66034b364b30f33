"""The inbox: what controllers send to this node, each to whom it is for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import structlog

from towline.agent.asking import Controllers
from towline.agent.executor import Executor, job_of
from towline.agent.heartbeat import Heartbeats
from towline.agent.outbox import Outbox
from towline.agent.progress import ProgressSender
from towline.agent.questions import ControllerQuestions
from towline.agent.reads import Reads
from towline.agent.runner import Runner, not_understood
from towline.broker.connection import Connection
from towline.broker.listener import Listener, Received
from towline.errors import BrokerUnreachable, TaskFailed
from towline.wire.decoding import Unreadable
from towline.wire.release import UNDERSTOOD, BeatNow, Cancellation, Order, Recount, Refresh, Release
from towline.wire.subjects import ALL_NODES, answer_subject, task_subject

log = structlog.get_logger()

MOST_ASKED = 64
"""Tasks that this node asks for at a time, since they came without their job; others are sent
again."""
CONTROLLER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
"""How a controller may call itself in a subject on which it is answered."""


class Inbox:
    """Takes what is sent to one start of a node's agent, and to all nodes.

    Args:
        start: what the agent has drawn at this start.
        controllers: who is believed.
        recount: called when all that the node has is to be sent.
    """

    def __init__(
        self,
        connection: Connection,
        machine: str,
        start: str,
        *,
        controllers: Controllers,
        questions: ControllerQuestions,
        executor: Executor,
        runner: Runner,
        reads: Reads,
        outbox: Outbox,
        heartbeats: Heartbeats,
        progress: ProgressSender,
        recount: Callable[[], None] = lambda: None,
    ) -> None:
        self._machine = machine
        self._controllers = controllers
        self._questions = questions
        self._executor = executor
        self._runner = runner
        self._reads = reads
        self._outbox = outbox
        self._heartbeats = heartbeats
        self._progress = progress
        self._recount = recount
        # Which subject a message came on says the broker, and orders are signed for theirs.
        self._subjects = (task_subject(machine, start), ALL_NODES)
        self._own, self._all = (
            Listener(connection, subject, self.receive) for subject in self._subjects
        )
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def ready(self) -> None:
        """Return once the broker sends what is for this node."""
        await self._own.ready.wait()
        await self._all.ready.wait()

    async def run(self) -> None:
        """Take what is sent, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._own.run())
            group.create_task(self._all.run())

    async def close(self) -> None:
        """Ask for nothing any more."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def receive(self, received: Received) -> None:
        """Do what a controller has sent.

        Raises:
            Unreadable: it can't be read, or is not believed; it is counted.
        """
        try:
            if received.subject not in self._subjects:
                raise Unreadable("it is for another start of the agent, or another node")
            self._take(self._controllers.order(received), received)
        except Unreadable as error:
            self._controllers.refuse(error)
            raise

    def _take(self, order: Order, received: Received) -> None:
        reply = received.reply
        if received.subject == ALL_NODES and not isinstance(order, BeatNow):
            raise Unreadable("it is for one node and was sent to all")
        if reply and not (isinstance(order, Release) and self._may_answer(reply)):
            # Where an answer counts as a request to the broker, or as another's word.
            raise Unreadable("it asks for an answer where no controller listens for that")
        if isinstance(order, Release):
            self._release(order, reply)
        elif isinstance(order, Cancellation):
            if not self._reads.cancel(order):
                self._runner.cancel(order)
        elif isinstance(order, Refresh):
            self._progress.refresh(order.id)
        elif isinstance(order, Recount):
            self._recount()
        else:
            self._heartbeats.asked(order)
            # A controller is there, perhaps again.
            self._outbox.send_now()

    def _may_answer(self, reply: str) -> bool:
        controller = reply.partition(".")[2].partition(".")[0]
        expected = answer_subject(controller, self._machine)
        return bool(CONTROLLER.match(controller)) and reply == expected

    def _release(self, release: Release, reply: str) -> None:
        names = [name for name in release.needs if name not in UNDERSTOOD]
        if names:
            self._runner.skip(release, not_understood(names))
        elif release.job is None:
            self._ask(release, reply)
        elif reply and self._executor.reads(job_of(release)):
            self._reads.take(release, reply)
        else:
            self._runner.take(release)

    def _ask(self, release: Release, reply: str) -> None:
        """Ask for a task that came without its job, and take it then."""
        job_id = release.id
        if job_id in self._asking or self._executor.runs(job_id):
            return
        if len(self._asking) >= MOST_ASKED:
            log.warning("task not asked for yet", job=job_id)
            return

        async def ask() -> None:
            try:
                found = await self._questions.task(job_id)
                self._controllers.check_created(found)
                self._release(found, reply)
            except BrokerUnreachable as error:
                # It is sent again.
                log.warning("task not known yet", job=job_id, reason=error.details)
            except Unreadable as error:
                self._controllers.refuse(error)
                log.warning("task not believed", job=job_id, reason=str(error))
            except TaskFailed as error:
                self._runner.refuse(release, error.error)
            except Exception:
                log.exception("task not taken", job=job_id)

        task = asyncio.create_task(ask(), name=f"ask {job_id}")
        self._asking[job_id] = task
        task.add_done_callback(lambda _: self._asking.pop(job_id, None))
