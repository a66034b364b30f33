"""The controllers' side of what an agent says, as a test has it; on a real broker, or none."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.testing.broker import Broker
from tests.testing.signing import SIGNER, sealed
from towline.broker.connection import Connection
from towline.broker.settings import Settings
from towline.trust.signing import answer_to
from towline.wire import messages
from towline.wire.cooldown import Cooldown
from towline.wire.event import Event
from towline.wire.inventory import Inventory
from towline.wire.node import Heartbeat, Registration
from towline.wire.progress import TaskProgress
from towline.wire.release import Order, Release
from towline.wire.report import STORED, Answer, CooldownQuestion, Receipt
from towline.wire.subjects import (
    ALL_NODES,
    COOLDOWN,
    HEARTBEATS,
    INVENTORIES,
    QUESTIONS,
    REGISTER,
    REPORTS,
    REPORTS_AGAIN,
    TASK,
    task_subject,
)


def now() -> float:
    """Return what the controllers' clock shows, in seconds since 1970, whatever the node's does."""
    return time.time_ns() / 1e9


def stored(event: Event) -> Receipt | None:
    """Return the receipt of a report that is stored."""
    return Receipt(STORED, now())


class Controllers:
    """What controllers answer nodes, and what they have received.

    All that a node says is decoded as controllers do it: what they can't read is an error.

    Attributes:
        reports: what was reported, each with its subject, in this order.
        events: of these what was answered with "stored".
        receipt: returns what a report is answered with, None for no answer.
        registrations, heartbeats, progress, inventories: what was received.
        interval, trusts: what the answer to a registration names.
        second: whether it says that another agent of the node is here.
        tasks: what is answered to questions for tasks, by job id.
        refusal: what a question is answered with for which there is no other answer.
        cooldown: what is answered to questions about one.
        questions: about cooldowns.
    """

    def __init__(self) -> None:
        self.reports: list[tuple[str, Event]] = []
        self.events: list[Event] = []
        self.receipt: Callable[[Event], Receipt | None] = stored
        self.registrations: list[Registration] = []
        self.heartbeats: list[Heartbeat] = []
        self.progress: list[TaskProgress] = []
        self.inventories: list[Inventory] = []
        self.interval: float | None = None
        self.trusts = ""
        self.second = False
        self.tasks: dict[str, Release] = {}
        self.refusal = Answer(now(), error="there is no such task")
        self.cooldown: Cooldown | None = None
        self.questions: list[CooldownQuestion] = []

    @property
    def jobs(self) -> list[str]:
        """The jobs of the events that are stored."""
        return [event.job for event in self.events]

    def ends(self, job_id: str) -> list[tuple[str, str | None]]:
        """Return the kinds and errors of the events of a job that are stored."""
        return [(event.kind, event.error) for event in self.events if event.job == job_id]

    def receive(self, subject: str, data: bytes, reply: str = "") -> bytes | None:
        """Take a message; return what it is answered with at `reply`, None for nothing."""
        kind, _, rest = subject.partition(".")
        answer: msgspec.Struct | None = None
        if kind == "report":
            event = messages.report(subject, data)
            self.reports.append((subject, event))
            answer = receipt = self.receipt(event)
            if receipt is not None and receipt.status == STORED:
                self.events.append(event)
        elif kind == "beat":
            self.heartbeats.append(messages.heartbeat(subject, data)[1])
        elif kind == "progress":
            self.progress.append(messages.progress(subject, data)[1])
        elif kind == "inventory":
            self.inventories.append(messages.inventory(subject, data)[1])
        elif kind == "ask":
            answer = self._answer(rest.partition(".")[2], subject, data)
        if answer is None:
            return None
        return SIGNER.seal(answer, answer_to(subject, data, reply))

    def _answer(self, about: str, subject: str, data: bytes) -> Answer:
        if about == REGISTER:
            self.registrations.append(messages.registration(subject, data))
            if self.second:
                return Answer(now(), error="another is here", again=True, second=True)
            return Answer(now(), interval=self.interval, trusts=self.trusts)
        if about == TASK:
            release = self.tasks.get(messages.task_question(data).job)
            if release is not None:
                return Answer(now(), release=release)
        if about == COOLDOWN:
            self.questions.append(messages.cooldown_question(data))
            return Answer(now(), cooldown=self.cooldown)
        return self.refusal


class Attached:
    """Controllers at a real broker.

    Attributes:
        answers: what was published where nobody else listens, by subject.
    """

    def __init__(self, client: Client, controllers: Controllers) -> None:
        self._client = client
        self._controllers = controllers
        self.answers: dict[str, list[Event]] = {}

    async def listen(self) -> None:
        """Receive all that nodes say."""
        plain = HEARTBEATS, "progress.*.*", INVENTORIES
        for subject in (REPORTS, REPORTS_AGAIN, QUESTIONS, *plain):
            await self._client.subscribe(subject, cb=self._receive)
        await self._client.subscribe("answer.>", cb=self._keep)
        await self._client.flush()

    async def _receive(self, message: Msg) -> None:
        answer = self._controllers.receive(message.subject, message.data, message.reply)
        if answer is not None and message.reply:
            await self._client.publish(message.reply, answer)

    async def _keep(self, message: Msg) -> None:
        event = msgspec.json.decode(message.data, type=Event)
        self.answers.setdefault(message.subject, []).append(event)

    async def send(self, order: Order, machine: str, *, reply: str = "") -> None:
        """Send an order to the start of a node that its last heartbeat names.

        Args:
            reply: where it may be answered.
        """
        subject = task_subject(machine, await self.start())
        await self.publish(subject, sealed(order, subject, reply), reply=reply)

    async def start(self) -> str:
        """Return the start that a node's last heartbeat names, when it has sent one."""
        beats = self._controllers.heartbeats
        async with asyncio.timeout(10):
            while not beats or beats[-1].leaving:
                await asyncio.sleep(0.005)
        return beats[-1].start

    async def send_to_all(self, order: Order) -> None:
        """Send an order to all nodes."""
        await self.publish(ALL_NODES, sealed(order, ALL_NODES))

    async def publish(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Send anything."""
        await self._client.publish(subject, data, reply)


@contextlib.asynccontextmanager
async def attached(broker: Broker, controllers: Controllers) -> AsyncIterator[Attached]:
    """Have controllers at a broker for as long as the block lasts, and the broker."""
    settings = Settings([broker.url], broker.logins.nodes)
    async with Connection(settings, "tests") as connection:
        made = Attached(await connection.client(10), controllers)
        await made.listen()
        yield made
