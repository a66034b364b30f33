"""The model: controllers and nodes on a network that loses, doubles and delays, and one journal."""

import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

import msgspec
import structlog

from tests.testing.signing import opened
from tests.unit.model import controller, node
from tests.unit.model.controller import ModelController
from tests.unit.model.network import Log, Network
from tests.unit.model.node import INTERVAL, ModelNode, Run
from tests.unit.model.process import Process, VirtualLoop
from tests.unit.model.promises import Broken, Promises
from towline.broker.journal import place
from towline.broker.listener import Received
from towline.controller.rollout.rule import GONE_AFTER
from towline.wire.event import WITHHELD, Event
from towline.wire.job import CONVERGE, SOON, Job
from towline.wire.messages import order
from towline.wire.node import Heartbeat
from towline.wire.release import Cancellation
from towline.wire.rollout import Waves
from towline.wire.subjects import inbox_prefix
from towline.wire.target import ALL

KEPT = 7 * 86400.0
"""Seconds within which a job that is kept for nodes that are away must be begun."""
MOST_ROUNDS = 60
"""Rounds without faults within which everything comes to an end."""
SHOWN = 80
"""Lines of what came to pass that a violation shows."""


class World:
    """Two controllers, some nodes, a network and a journal.

    Args:
        directory: where the nodes' disks are.
        nodes: how many nodes.
        of_controller, of_node: which classes they are made of.
    """

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 2,
        of_controller: controller.Parts = controller.Parts(),  # noqa: B008
        of_node: node.Parts = node.Parts(),  # noqa: B008
    ) -> None:
        self.loop = VirtualLoop()
        self.network = Network()
        self._losses = dict.fromkeys("abc"[:nodes], 0)
        self.promises = Promises(self._losses)
        self.log = Log(self._stored)
        self.jobs: list[Job] = []
        self.nodes = [
            ModelNode(
                *(machine, directory, self.loop, self.network, self.promises, of_node),
                ask=self._ask,
                beat=self._beat,
            )
            for machine in self._losses
        ]
        self.controllers = [
            ModelController(
                *(name, list(self._losses), self.loop, self.network, self.log, of_controller),
                send=self._send,
                answered=self.promises.answered,
            )
            for name in ("x", "y")
        ]
        self.turn = 0
        """Which controller the next report goes to."""
        self._waiting: dict[str, tuple[str, Callable[[bytes], None]]] = {}
        """By the subject of the answer: what was asked, and what takes the answer."""
        self.unexpected: list[str] = []
        self._outside = Process(self.loop)

    def __enter__(self) -> Self:
        self._logging = structlog.get_config()
        structlog.configure(
            processors=[self._note],
            wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        )
        for each in self.controllers:
            self.start_controller(each)
        self.give_lease(self.controllers[0])
        for each_node in self.nodes:
            each_node.start()
        self.deliver_all()
        self.pass_time(1.0)
        return self

    def __exit__(self, *_: object) -> None:
        parts: list[ModelController | ModelNode] = [*self.controllers, *self.nodes]
        for each in parts:
            if each.up:
                each.crash()
        self.loop.close()
        structlog.configure(**self._logging)

    def _note(self, logger: object, method: str, entry: structlog.typing.EventDict) -> str:
        if entry.get("exc_info"):
            error = sys.exception() if entry["exc_info"] is True else entry["exc_info"]
            self.unexpected.append(f"{entry['event']}: {error!r}")
        raise structlog.DropEvent

    @property
    def broken(self) -> list[str]:
        """What was broken."""
        return self.promises.broken or self.unexpected or self.loop.errors

    def check(self) -> None:
        """Raise `Broken` where a promise was broken."""
        self.loop.settle()
        broken = self.broken
        if broken:
            trace = "\n  ".join(self.network.trace[-SHOWN:])
            raise Broken(f"{broken[0]}, after\n  {trace}")

    def says(self, text: str) -> None:
        """Write into the trace."""
        self.network.trace.append(text)

    # What parts send

    def _stored(self, entry: Job | Event, author: str) -> None:
        at = len(self.log.messages)
        if isinstance(entry, Job):
            self.says(f"{author} has stored job {entry.id[-1]}: {describe(entry)}")
        else:
            names = "+".join(node.machine for node in entry.nodes or ())
            self.says(f"{author} has stored {entry.kind} {names or entry.machine}")
            self._look_at_expired(entry, author)
        self.promises.stored(entry, place(at))
        for each in self.controllers:
            # In a moment: whoever stores it may fold it before it knows that it is stored.
            self.loop.call_soon(each.follow, context=None)

    def _look_at_expired(self, event: Event, author: str) -> None:
        """See that no task expires that its node is known to hold, unless it has yet to ask."""
        state = self.promises.truth[event.job]
        fleet = next(each.fleet for each in self.controllers if each.name == author)
        for named in event.nodes or () if event.kind == WITHHELD else ():
            member = fleet.get(named.machine)
            if named.status != "expired" or state.job.needs_leave or member is None:
                continue
            if member.here and member.holds(event.job) and named.machine in state.unfinished:
                self.promises.breaks(f"{named.machine} was said to have expired, and holds it")

    def _ask(self, subject: str, body: bytes, answer: Callable[[str, bytes], None]) -> None:
        event = msgspec.json.decode(body)
        text = f"{event['machine']} {event['kind']}"
        reply = f"{inbox_prefix(event['machine'])}.{len(self._waiting)}"
        self._waiting[reply] = (text, partial(answer, reply))
        received = Received(subject, body, reply)
        if subject.endswith(".again"):
            for each in self.controllers:
                self.network.post(
                    f"report {text} again to {each.name}",
                    partial(each.take_report, received),
                )
        else:
            self.network.post(f"report {text}", lambda: self._queue(received))

    def _queue(self, received: Received) -> None:
        """Deliver a report to one of the controllers."""
        self.turn += 1
        for offset in (0, 1):
            each = self.controllers[(self.turn + offset) % 2]
            if each.take_report(received):
                return

    def _send(self, subject: str, body: bytes) -> None:
        if subject.startswith("_INBOX"):
            text, answer = self._waiting[subject]
            receipt = msgspec.json.decode(opened(body))
            status = receipt["status"] + " with leave" * ("leave" in receipt)
            self.network.post(f"receipt of {text}: {status}", lambda: answer(body))
            return
        _, machine, start = subject.split(".")
        found = order(opened(body), machine)
        kind = "cancellation" if isinstance(found, Cancellation) else "release"
        to = next(each for each in self.nodes if each.machine == machine)
        self.network.post(f"{kind} to {machine}", lambda: to.receive(start, body))

    def _beat(self, machine: str, heartbeat: Heartbeat) -> None:
        for each in self.controllers:
            text = f"heartbeat of {machine} to {each.name}, {len(heartbeat.jobs)} tasks"
            for old in self.network.find(f"heartbeat of {machine} to {each.name},")[:-1]:
                # Of many that are on the way two make all the difference.
                self.network.messages.pop(old)
            self.network.post(
                text,
                partial(each.take_heartbeat, machine, heartbeat),
            )

    # What may come to pass

    def deliver_all(self) -> None:
        """Deliver all that is on its way, and what that brings about."""
        for _ in range(500):
            if not self.network.messages:
                break
            self.network.deliver(0)
        self.check()

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.says(f"{seconds:g} s pass")
        if seconds > 4 * INTERVAL:
            self.loop.jump(seconds)
        else:
            self.loop.pass_time(seconds)
        self.check()

    def start_controller(self, each: ModelController) -> None:
        """Start a controller; it asks all nodes for a heartbeat."""
        each.start()
        for to in self.nodes:
            self.network.post(f"{each.name} asks {to.machine} to beat", to.ask_for_heartbeat)

    def give_lease(self, to: ModelController, *, both: bool = False) -> None:
        """Have a controller have the lease, alone or with the other one."""
        for each in self.controllers:
            each.leads = each is to or both
            if each.up:
                each.lease.valid = each.leads

    def lose_ledger(self, each: ModelNode) -> None:
        """Have a node lose its disk, and start again without."""
        if each.up:
            each.crash()
        each.lose_ledger()
        self._losses[each.machine] += 1
        each.start()

    def submit(self, by: ModelController, draft: Job) -> Job | None:
        """Have a controller make a job."""
        number = len(self.jobs) + 1
        now = self.loop.wall
        job = by.submit(
            msgspec.structs.replace(
                draft,
                id=f"00000000-0000-7000-8000-{number:012x}",
                created=now,
                expires=now + draft.expires,
            )
        )
        if job is not None:
            self.jobs.append(job)
        self.check()
        return job

    def end(self, run: Run, *, well: bool = True) -> None:
        """Have a task that runs find what it is to find, and end."""
        if not run.found.done():
            run.found.set_result("d")
        if not run.outcome.done():
            run.outcome.set_result(well)
        self.says(f"{run.machine} ends {'well' if well else 'badly'}")
        self.check()

    def find(self, run: Run, value: str) -> None:
        """Have a task that leads find something."""
        if not run.found.done():
            run.found.set_result(value)
            self.says(f"{run.machine} finds {value}")
        self.check()

    # The end

    def recover(self) -> None:
        """Let no fault be any more, and see that everything comes to an end.

        Raises:
            Broken: it does not.
        """
        self.says("no more faults")
        for each in self.controllers:
            each.lags = False
            each.prompt = True
            if not each.up:
                self.start_controller(each)
            each.journal.prompt = True
            each.follow()
        self.give_lease(self.controllers[0])
        for each_node in self.nodes:
            if each_node.up:
                each_node.write()
            else:
                each_node.start()
        for number in range(MOST_ROUNDS):
            self.deliver_all()
            for job in self.jobs:
                self.controllers[0].pause(job.id, resume=True)
            for run in list(self.promises.running):
                self.end(run)
            self.deliver_all()
            if self._ended():
                return
            self.loop.pass_time(INTERVAL + 2.0)
            if number == MOST_ROUNDS // 2 and self._all_expired():
                # Of what has begun, and no node knows, it is waited for an hour.
                self.loop.jump(GONE_AFTER)
        left = {
            describe(state.job): sorted(state.unfinished)
            for state in self.promises.truth.values()
            if not state.done
        } or [each.ledger.held(10) for each in self.nodes]
        trace = "\n  ".join(self.network.trace[-SHOWN:])
        raise Broken(f"it comes to no end: {left}, after\n  {trace}")

    def _all_expired(self) -> bool:
        states = self.promises.truth.values()
        return all(state.done or state.job.expires < self.loop.wall for state in states)

    def _ended(self) -> bool:
        return (
            all(state.done for state in self.promises.truth.values())
            and not self.promises.running
            and not any(each.ledger.held(10) for each in self.nodes)
            and not any(each.ledger.undelivered(10) for each in self.nodes)
            and not any(len(each.open) for each in self.controllers)
        )


def draft(
    target: str = ALL,
    *,
    effect: str = CONVERGE,
    waves: Waves | None = None,
    leads: bool = False,
    expires: float | None = None,
) -> Job:
    """Return a job to be made: its `expires` is how long it has."""
    kept = effect == CONVERGE or waves is not None
    return Job(
        id="",
        operation="docker.pull.execute",
        parameters={"image": "nginx"},
        target=target,
        caller="ci",
        created=0.0,
        expires=(KEPT if kept else SOON) if expires is None else expires,
        effect=effect,
        waves=waves,
        leads=leads,
        requires="docker",
    )


def describe(job: Job) -> str:
    """Return what kind of job it is."""
    words = [str(job.target), job.effect]
    if job.waves is not None:
        words.append(str(msgspec.to_builtins(job.waves)))
    if job.leads:
        words.append("with a lead")
    return " ".join(words)


def quick_disk() -> Path | None:
    """Return where files are kept in memory, None where that is nowhere.

    Ledgers sync each change, as they must: on a disk that takes most of the time.
    """
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None
