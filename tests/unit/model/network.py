"""The network and the journal: what was sent is on its way until it is delivered, or lost."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from tests.unit.model.process import Process, VirtualLoop
from towline.broker.answers import BrokerRefused, WrongLastSequence
from towline.errors import BrokerUnreachable
from towline.wire.event import Event
from towline.wire.job import Job

T = TypeVar("T")

MOST_ON_THE_WAY = 60
"""Messages; of more the oldest is lost."""
APPEND_WITHIN = 5.0
"""Seconds, as of `towline.broker.jetstream`."""


class Message(msgspec.Struct):
    """A message on its way.

    Attributes:
        text: what it is, for the trace.
        deliver: has its receiver have it; may be called more than once, at any time.
    """

    text: str
    deliver: Callable[[], object]


class Network:
    """What is on its way.

    Attributes:
        trace: what came to pass, for whoever reads of a violation.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.trace: list[str] = []

    def post(self, text: str, deliver: Callable[[], object]) -> None:
        """Send a message."""
        self.messages.append(Message(text, deliver))
        if len(self.messages) > MOST_ON_THE_WAY:
            self.lose(0)

    def deliver(self, index: int, *, keep: bool = False) -> None:
        """Deliver a message; with `keep` it will come once more."""
        message = self.messages[index] if keep else self.messages.pop(index)
        if not message.text.startswith("heartbeat") or keep:
            self.trace.append(f"{message.text} is delivered" + ", and comes again" * keep)
        message.deliver()

    def lose(self, index: int) -> None:
        """Lose a message."""
        self.trace.append(f"{self.messages.pop(index).text} is lost")

    def find(self, text: str) -> list[int]:
        """Return which messages are described by a text that has this in it."""
        return [at for at, message in enumerate(self.messages) if text in message.text]


class Log:
    """The journal: a list in one order, with one chain of decisions for each job.

    Attributes:
        compares: whether a decision is stored only behind the last one that its author knew of.
    """

    def __init__(self, stored: Callable[[Job | Event, str], None]) -> None:
        self.messages: list[Job | list[Event]] = []
        self.compares = True
        self._last: dict[str, int] = {}
        self._ids: dict[str, int] = {}
        self._stored = stored

    def _append(self, message: Job | list[Event], author: str) -> int:
        self.messages.append(message)
        for each in [message] if isinstance(message, Job) else message:
            self._stored(each, author)
        return len(self.messages)

    def decide(self, event: Event, last: int, author: str) -> int:
        """Store a decision; raises as `Journal.decide`."""
        if self.compares and last != self._last.get(event.job, 0):
            raise WrongLastSequence(10071, "wrong last sequence")
        self._last[event.job] = self._append([event], author)
        return self._last[event.job]

    def add(self, message: Job | list[Event], message_id: str, author: str) -> int:
        """Store a job or a group of reports once."""
        if message_id not in self._ids:
            self._ids[message_id] = self._append(message, author)
        return self._ids[message_id]


class JournalClient:
    """The journal, as one controller reaches it: stands in for `towline.broker.journal.Journal`.

    Args:
        name: the controller's.
    """

    def __init__(
        self, name: str, process: Process, loop: VirtualLoop, network: Network, log: Log
    ) -> None:
        self._name = name
        self._process = process
        self._loop = loop
        self._network = network
        self._log = log
        self.prompt = True
        """Whether what it asks is done and answered at once."""

    async def _ask(self, text: str, append: Callable[[], int]) -> int:
        stored: asyncio.Future[int] = self._loop.create_future()

        def answer(result: int | BrokerRefused) -> None:
            if not self._process.alive or stored.done():
                return
            if isinstance(result, BrokerRefused):
                stored.set_exception(result)
            else:
                stored.set_result(result)
            self._loop.settle()

        def deliver() -> None:
            result: int | BrokerRefused
            try:
                result = append()
            except BrokerRefused as refused:
                result = refused
            if self.prompt:
                answer(result)
            else:
                self._network.post(f"answer to {text}", lambda: answer(result))

        if self.prompt:
            try:
                return append()
            finally:
                # Others may come in between, as they do while a broker stores.
                await asyncio.sleep(0)
        self._network.post(text, deliver)
        try:
            async with asyncio.timeout(APPEND_WITHIN):
                return await stored
        except TimeoutError:
            raise BrokerUnreachable("The broker did not answer.", "in time") from None

    async def decide(self, event: Event, last: int) -> int:
        """Store a decision."""
        nodes = "" if event.nodes is None else " " + "+".join(each.machine for each in event.nodes)
        text = f"{self._name} stores {event.kind}{nodes}"
        return await self._ask(text, lambda: self._log.decide(event, last, self._name))

    async def add_job(self, job: Job) -> int:
        """Store a job."""
        text = f"{self._name} stores job {job.id[-1]}"
        return await self._ask(text, lambda: self._log.add(job, job.id, self._name))

    async def add_reports(self, events: Sequence[Event], message_id: str) -> int:
        """Store reports."""
        kinds = "+".join(f"{event.machine} {event.kind}" for event in events)
        text = f"{self._name} stores reports {kinds}"
        return await self._ask(text, lambda: self._log.add(list(events), message_id, self._name))
