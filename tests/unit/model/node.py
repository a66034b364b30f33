"""A node of the model: the agent's real ledger, runner, executor, outbox and inbox."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import Executor as ThreadExecutor
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from tests.testing.signing import VERIFIER
from tests.unit.model.network import Network
from tests.unit.model.process import Process, VirtualLoop
from towline.agent.asking import Controllers
from towline.agent.capabilities import Capabilities
from towline.agent.executor import Executor
from towline.agent.heartbeat import Heartbeats
from towline.agent.inbox import Inbox
from towline.agent.ledger import Ledger
from towline.agent.node import Node
from towline.agent.outbox import Outbox
from towline.agent.progress import ProgressSender
from towline.agent.provider import Provider, Task
from towline.agent.questions import ControllerQuestions
from towline.agent.reads import Reads
from towline.agent.runner import Runner
from towline.broker.clock import Clock, running
from towline.broker.connection import Connection
from towline.broker.listener import Received
from towline.errors import BrokerUnreachable, TaskFailed
from towline.operations.docker import Pulled
from towline.wire.decoding import Unreadable
from towline.wire.job import Job
from towline.wire.node import MOST_NAMED, Heartbeat, pack
from towline.wire.subjects import task_subject

INTERVAL = 5.0
"""Seconds between heartbeats."""
BOOTED = running() - 1000.0
"""What this machine's clock showed when that of a loop showed 0; parts of the agent ask for it."""


class Disk(ThreadExecutor):
    """Writes what the ledger has it write: at once, or when it is let.

    Attributes:
        slow: whether it waits to be let.
    """

    def __init__(self) -> None:
        self.slow = False
        self.dead = False
        self._waiting: list[Callable[[], None]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Write something, now or later."""
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except sqlite3.Error as error:
                future.set_exception(error)

        if self.slow or self.dead:
            self._waiting.append(work)
        else:
            work()
        return future

    def write(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        for work in waiting:
            work()


class Run:
    """A task while it is under way on a node.

    Attributes:
        found: what it finds, for one that leads.
        outcome: how it ends: whether it has done what it was to.
    """

    def __init__(self, job: Job, machine: str) -> None:
        self.job = job
        self.machine = machine
        self.found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class Watcher(Protocol):
    """Who sees what runs."""

    def begins(self, run: Run) -> None:
        """See that a task runs."""

    def ends(self, run: Run) -> None:
        """See that it runs no more."""

    def uses(self, run: Run, value: str, *, leads: bool) -> None:
        """See with what its job's lead has found a task goes on."""


class _Docker:
    """Brings the capability that the model's jobs require, and does what a test says."""

    capability = "docker"

    def __init__(self, machine: str, watcher: Watcher) -> None:
        self._machine = machine
        self._watcher = watcher

    def serve(self, task: Task) -> "_Pull":
        return _Pull(task, self._machine, self._watcher)


class _Pull:
    def __init__(self, task: Task, machine: str, watcher: Watcher) -> None:
        self._task = task
        self._machine = machine
        self._watcher = watcher

    async def pull(self, image: object, **options: object) -> Pulled:
        task, run = self._task, Run(self._task.job, self._machine)
        self._watcher.begins(run)
        try:
            if task.found is not None:
                lead = await task.found(await run.found)
                self._watcher.uses(run, lead.value, leads=True)
            elif task.release.lead is not None:
                self._watcher.uses(run, task.release.lead.value, leads=False)
            if not await run.outcome:
                raise TaskFailed("it failed")
        finally:
            self._watcher.ends(run)
        return Pulled("sha256:1", 1, True)


class _Capabilities:
    """Offers everything, always."""

    def offers(self, capability: str) -> bool:
        return True

    def probe_now(self, capability: str) -> None:
        pass


class _Progress:
    def end(self, job_id: str) -> None:
        pass


class _Connection:
    """What the agent reaches controllers by."""

    connected = True

    def __init__(self, node: "ModelNode", process: Process) -> None:
        self._node = node
        self._process = process

    async def client(self) -> None:
        pass

    def succeeded(self, kind: str | None = None) -> None:
        pass

    def failed(self, kind: str, reason: str) -> None:
        pass

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float,
    ) -> Received:
        loop, process = self._node.loop, self._process
        answered: asyncio.Future[Received] = loop.create_future()

        def answer(reply: str, data: bytes) -> None:
            if process.alive and not answered.done():
                answered.set_result(Received(reply, data, ""))
                loop.settle()

        if process.alive:
            self._node.ask(subject, payload, answer)
        try:
            async with asyncio.timeout(timeout):
                return await answered
        except TimeoutError:
            raise BrokerUnreachable("The broker did not answer.", "in time") from None


class Parts(msgspec.Struct, frozen=True):
    """Which classes a node is made of."""

    ledger: type[Ledger] = Ledger
    runner: type[Runner] = Runner
    outbox: type[Outbox] = Outbox


class ModelNode:
    """A machine whose agent starts, dies and starts again, with what its ledger has.

    Attributes:
        start_id: what the agent drew when it started; "" while it doesn't run.
        losses: how often it has lost its ledger.

    Args:
        ask: sends what the node asks controllers: subject, body, and what takes the answer.
        beat: sends a heartbeat.
    """

    def __init__(
        self,
        machine: str,
        directory: Path,
        loop: VirtualLoop,
        network: Network,
        watcher: Watcher,
        parts: Parts,
        *,
        ask: Callable[[str, bytes, Callable[[str, bytes], None]], None],
        beat: Callable[[str, Heartbeat], None],
    ) -> None:
        self.machine = machine
        self.loop = loop
        self.ask = ask
        self.disk = Disk()
        self.losses = 0
        self.start_id = ""
        self._path = directory / f"{machine}.sqlite"
        self._network = network
        self._watcher = watcher
        self._parts = parts
        self._beat = beat
        self._starts = 0

    @property
    def up(self) -> bool:
        """Whether its agent runs."""
        return bool(self.start_id)

    def start(self) -> None:
        """Start the agent."""
        self._starts += 1
        self.start_id = f"{ord(self.machine):08x}{self._starts:08x}"
        self._process = Process(self.loop)
        self._process.do(self._make)
        self.beat()

    def _make(self) -> None:
        self.disk = Disk()
        self.ledger = self._parts.ledger(self._path, self.disk)
        self._after = self.ledger.last_start
        # Exact from the beginning: what is observed later can only confirm it.
        clock = Clock(lambda: BOOTED + self.loop.time())
        clock.observe(self.loop.wall, BOOTED + self.loop.time())
        connection = cast(Connection, _Connection(self, self._process))
        progress = cast(ProgressSender, _Progress())
        controllers = Controllers(connection, self.machine, clock, VERIFIER)
        outbox = self._parts.outbox(connection, self.machine, self.ledger, controllers)
        provider = cast(Provider, _Docker(self.machine, self._watcher))
        self.executor = Executor(
            Node(self.machine, f"host-{self.machine}", [provider]),
            cast(Capabilities, _Capabilities()),
            clock,
            outbox,
            progress,
            lambda: {},
            wall_clock=lambda: self.loop.wall,
        )
        self.runner = self._parts.runner(self.ledger, self.executor, outbox, clock)
        self._inbox = Inbox(
            connection,
            self.machine,
            self.start_id,
            controllers=controllers,
            questions=cast(ControllerQuestions, None),
            executor=self.executor,
            runner=self.runner,
            reads=Reads(connection, self.executor),
            outbox=outbox,
            heartbeats=cast(Heartbeats, None),
            progress=progress,
        )
        self._outbox = outbox
        self.ledger.begin(self.start_id)
        self.ledger.use(self.loop.wall)
        self.loop.create_task(self._run())

    async def _run(self) -> None:
        await self.runner.resume()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._outbox.run())
            group.create_task(self.runner.run())
            while True:
                await asyncio.sleep(INTERVAL)
                self.beat()

    def beat(self) -> None:
        """Send a heartbeat."""
        held = self.ledger.held(MOST_NAMED)
        self._beat(
            self.machine,
            Heartbeat(
                self.start_id,
                interval=INTERVAL,
                after=self._after,
                capabilities={"docker": ""},
                running=self.executor.task_count,
                tasks=pack(held),
            ),
        )

    def receive(self, start: str, data: bytes) -> None:
        """Receive what was sent to one start of the agent, if that is the one which runs."""
        if start == self.start_id:
            received = Received(task_subject(self.machine, start), data, "")
            self._process.do(self._receive, received)

    def _receive(self, received: Received) -> None:
        try:
            self._inbox.receive(received)
        except Unreadable as error:
            # What was on its way for too long is sent anew.
            if "it was sent" not in str(error):
                raise

    def ask_for_heartbeat(self) -> None:
        """Receive that a controller asks for one; then the agent reports what waits, too."""
        if self.up:
            self.beat()
            self._process.do(self._outbox.send_now)

    def write(self) -> None:
        """Have the disk write what waits, and be quick again."""
        self.disk.slow = False
        self.disk.write()
        self.loop.settle()

    def crash(self) -> None:
        """End the agent where it stands; what is not on the disk is lost."""
        self.start_id = ""
        self.disk.dead = True
        self._process.kill()
        # As a power cut does it: the ledger has no part in it.
        self.ledger._reader.close()
        self.ledger._database.close()

    def lose_ledger(self) -> None:
        """Lose the disk of an agent that doesn't run."""
        self.losses += 1
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()
