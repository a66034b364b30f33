"""What is sent to a node: each to whom it is for, and nothing believed that isn't."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.testing.doubles import AWAY, until
from tests.testing.signing import sealed, signed
from tests.unit.agent.conftest import Body, Middle
from towline.agent.heartbeat import Heartbeats
from towline.agent.host.facts import gather
from towline.agent.host.survey import Survey
from towline.agent.inbox import MOST_ASKED, Inbox
from towline.agent.questions import ControllerQuestions
from towline.broker.listener import Received
from towline.operation import Effect
from towline.trust.signing import order_for
from towline.wire.decoding import Unreadable
from towline.wire.event import CANCELLED, COMPLETED, FAILED, SKIPPED
from towline.wire.job import new_id
from towline.wire.progress import TaskProgress
from towline.wire.release import BeatNow, Cancellation, Order, Refresh, Release
from towline.wire.subjects import ALL_NODES, answer_subject, task_subject

START = "0123456789abcdef"
OWN = task_subject("machine-1", START)


class Node:
    """An agent's middle and its inbox."""

    def __init__(self, middle: Middle) -> None:
        self.middle = middle
        questions = ControllerQuestions(middle.believed, "machine-1", retry_every=0.01)

        async def subscribed() -> None:
            await self.inbox.ready()

        async def taken() -> None:
            pass

        self.heartbeats = Heartbeats(
            middle.connection,
            "machine-1",
            "node-1",
            [],
            start=START,
            after="",
            controllers=middle.believed,
            questions=questions,
            ledger=middle.ledger,
            capabilities=middle.capabilities,
            survey=Survey(gather, lambda: None),
            running_tasks=lambda: 0,
            public_key="",
            subscribed=subscribed,
            taken=taken,
            interval=60.0,
        )
        self.inbox = Inbox(
            middle.connection,
            "machine-1",
            START,
            controllers=middle.believed,
            questions=questions,
            executor=middle.executor,
            runner=middle.runner,
            reads=middle.reads,
            outbox=middle.outbox,
            heartbeats=self.heartbeats,
            progress=middle.progress,
        )

    async def receive(self, body: bytes, *, subject: str = OWN, reply: str = "") -> None:
        """Receive a message, as the broker delivers it."""
        await self.middle.connection.deliver(Received(subject, body, reply))

    async def send(self, order: Order, *, reply: str = "") -> None:
        """Receive an order."""
        await self.receive(sealed(order, OWN, reply), reply=reply)

    @property
    def refused(self) -> int:
        """How many messages were not believed."""
        return self.middle.believed.refused


@pytest.fixture
async def node(middle: Middle) -> Any:
    made = Node(middle)
    running = asyncio.create_task(made.inbox.run())
    await made.inbox.ready()
    with capture_logs():
        yield made
    assert not running.done(), "it has ended"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await made.inbox.close()
    await made.heartbeats.close()


async def test_a_released_task_runs(node: Node, middle: Middle, body: Body) -> None:
    job = middle.job()
    await node.send(middle.release(job))
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])


@pytest.mark.parametrize(
    ("effect", "own", "answered"),
    [
        (Effect.READ, "read", True),
        (Effect.CONVERGE, "converge", False),
        (Effect.ONCE, "read", False),
    ],
    ids=["a read", "no read", "what one side only calls a read"],
)
async def test_only_a_read_is_answered_at_once(
    node: Node, middle: Middle, body: Body, effect: Effect, own: str, answered: bool
) -> None:
    job = msgspec.structs.replace(middle.job(effect), effect=own)
    reply = answer_subject("c1", "machine-1")
    await node.send(middle.release(job), reply=reply)
    await until(lambda: not middle.executor.task_count)
    subjects = [subject for subject, _ in middle.connection.published]
    assert (subjects == [reply], bool(middle.ends(job))) == (answered, not answered)


async def test_a_read_without_a_place_for_its_answer_goes_through_the_ledger(
    node: Node, middle: Middle, body: Body
) -> None:
    job = middle.job(Effect.READ)
    await node.send(middle.release(job))
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])


@pytest.mark.parametrize("effect", [Effect.READ, Effect.CONVERGE])
async def test_what_runs_is_cancelled(
    node: Node, middle: Middle, body: Body, effect: Effect
) -> None:
    body.gate.clear()
    job = middle.job(effect)
    reply = answer_subject("c1", "machine-1") if effect is Effect.READ else ""
    await node.send(middle.release(job), reply=reply)
    await until(lambda: body.begun)
    now = time.time()
    await node.send(Cancellation(job.id, "machine-1", "ann", now, job.created, job.expires))
    await until(lambda: not middle.executor.task_count)
    if effect is Effect.READ:
        assert [subject for subject, _ in middle.connection.published] == [reply]
        assert middle.ledger.state_of(job.id) is None
    else:
        await until(lambda: (CANCELLED, "cancelled by ann") in middle.ends(job))


async def test_what_asks_for_more_than_is_understood_is_skipped(
    node: Node, middle: Middle, body: Body
) -> None:
    job = middle.job()
    await node.send(middle.release(job, needs=["signatures"]))
    await until(lambda: middle.ends(job))
    ((kind, error),) = middle.ends(job)
    assert (kind, body.begun) == (SKIPPED, 0)
    assert "does not understand signatures" in (error or "")


async def test_the_progress_of_a_task_is_sent_again_when_asked_for(
    node: Node, middle: Middle
) -> None:
    sending = asyncio.create_task(middle.progress.run())
    job = middle.job()
    middle.progress.send(job.id, TaskProgress("preparing"))
    await until(lambda: middle.controllers.progress)
    await node.send(Refresh(job.id, "machine-1", time.time()))
    await until(lambda: len(middle.controllers.progress) == 2)
    sending.cancel()


@pytest.mark.parametrize("subject", [ALL_NODES, OWN])
async def test_whoever_asks_all_nodes_or_this_one_is_sent_a_heartbeat_and_what_waits(
    node: Node, middle: Middle, subject: str
) -> None:
    beating = asyncio.create_task(node.heartbeats.run())
    await until(node.heartbeats.sent.is_set)
    order = BeatNow(time.time(), interval=30.0)
    await node.receive(sealed(order, subject), subject=subject)
    await until(lambda: len(middle.controllers.heartbeats) == 2)
    assert node.heartbeats.interval == 30.0
    beating.cancel()


# Tasks that come without their job


async def test_a_task_without_its_job_is_asked_for(node: Node, middle: Middle, body: Body) -> None:
    job, read = middle.job(), middle.job(Effect.READ)
    for each in (job, read):
        middle.controllers.tasks[each.id] = middle.release(each)
        reply = answer_subject("c1", "machine-1")
        await node.send(msgspec.structs.replace(middle.release(each), job=None), reply=reply)
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])
    await until(lambda: len(middle.connection.published) == 1)


async def test_a_task_that_nobody_knows_any_more_fails(node: Node, middle: Middle) -> None:
    job = middle.job()
    await node.send(msgspec.structs.replace(middle.release(job), job=None))
    await until(lambda: [kind for kind, _ in middle.ends(job)] == [FAILED])


async def test_a_task_that_nobody_answers_for_is_left_until_it_comes_again(
    node: Node, middle: Middle, body: Body
) -> None:
    job = middle.job()
    middle.controllers.tasks[job.id] = middle.release(job)
    order = msgspec.structs.replace(middle.release(job), job=None)
    middle.connection.failing = AWAY
    await node.send(order)
    await until(lambda: not node.inbox._asking)
    assert middle.ledger.state_of(job.id) is None
    middle.connection.failing = None
    await node.send(order)
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])


async def test_a_task_that_is_cancelled_while_it_is_asked_for_is_not_begun(
    node: Node, middle: Middle, body: Body
) -> None:
    job = middle.job()
    middle.controllers.tasks[job.id] = middle.release(job)
    middle.connection.gate.clear()
    await node.send(msgspec.structs.replace(middle.release(job), job=None))
    now = time.time()
    await node.send(Cancellation(job.id, "machine-1", "ann", now, job.created, job.expires))
    await asyncio.sleep(0.05)
    middle.connection.gate.set()
    await until(lambda: middle.ends(job) and not node.inbox._asking)
    await until(lambda: not middle.executor.task_count)
    assert {kind for kind, _ in middle.ends(job)} == {CANCELLED}
    assert body.begun == 0


async def test_no_more_tasks_are_asked_for_at_a_time_than_so_many(
    node: Node, middle: Middle
) -> None:
    middle.connection.gate.clear()
    for _ in range(2 * MOST_ASKED):
        await node.send(msgspec.structs.replace(middle.release(middle.job()), job=None))
    assert len(node.inbox._asking) == MOST_ASKED
    middle.connection.gate.set()


# What is not believed


def order(**more: Any) -> dict[str, Any]:
    """Return a release as JSON has it; `more` are fields of it, those named `job_…` of the job."""
    now = time.time()
    id = new_id()
    job = {
        "id": id,
        "operation": "test.converge",
        "parameters": {},
        "target": "node-1",
        "caller": "tests",
        "created": now,
        "expires": now + 60,
        "effect": "converge",
    }
    found = {"kind": "release", "id": id, "machine": "machine-1", "time": now, "expires": now + 60}
    for name, value in more.items():
        if name.startswith("job_"):
            job[name[4:]] = value
        else:
            found[name] = value
    return {"job": job, **found}


def body(value: Any) -> bytes:
    """Return a body, signed as if a controller had sent it."""
    return signed(json.dumps(value).encode(), order_for(OWN, ""))


def cancellation(**more: Any) -> bytes:
    now = time.time()
    fields = {"id": new_id(), "machine": "machine-1", "caller": "ann", "time": now}
    return body({"kind": "cancel", **fields, "created": now, "expires": now + 60, **more})


DEEP = b"[" * 100_000 + b"]" * 100_000
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"no JSON",
    "NUL": b"\0",
    "bad UTF-8": b'{"body":{"kind":"\xff"}}',
    "a list": b"[]",
    "no body": b"{}",
    "a body that is none": body(None),
    "bad UTF-8 in the body": signed(b'{"kind":"\xff"}', order_for(OWN, "")),
    "100,000 lists": b"[" * 100_000,
    "100,000 levels in the body": b'{"body":' + DEEP + b"}",
    "100,000 levels in a body that is signed": signed(DEEP, order_for(OWN, "")),
    "100,000 levels in a parameter": signed(
        json.dumps(order()).encode().replace(b"{}", b'{"a":' + DEEP + b"}"), order_for(OWN, "")
    ),
    "8 MB": b'{"body":{"kind":"release","id":"' + b"a" * 8 * 1024 * 1024 + b'"}}',
    "a job made tomorrow": body(order(job_created=time.time() + 86400.0)),
    "sent an hour ago": body(order(time=time.time() - 3600.0)),
    "sent in an hour": body(order(time=time.time() + 3600.0)),
    "an unknown kind": body(order(kind="reboot")),
    "no kind": body({"id": new_id()}),
    "a kind of the wrong type": body(order(kind=5)),
    "another machine": body(order(machine="machine-2")),
    "no machine": body(order(machine="_")),
    "a wildcard for a machine": body(order(machine="*")),
    "two jobs": body(order(job_id=new_id())),
    "NUL in the id": body(order(id="\0" * 36)),
    "CR LF in the id": body(order(id=new_id() + "\r\n")),
    "a path for an id": body(order(id="../../etc")),
    "an id of the wrong type": body(order(id=5)),
    "a surrogate": body(order(job_caller="\ud800")),
    "control characters": body(order(job_caller="ann\x1b[2J")),
    "CR LF in the operation": body(order(job_operation="test.converge\r\nPUB a 0")),
    "the end of time": body(order(time=1e308)),
    "the beginning of time": body(order(time=-1e308)),
    "milliseconds": body(order(time=1e13)),
    "an expiry in milliseconds": body(order(expires=1e13)),
    "a job made before there were any": body(order(job_created=-1.0)),
    "a job of the wrong type": body(order(job=[])),
    "parameters of the wrong type": body(order(job_parameters="rm")),
    "a cancellation for another": cancellation(machine="machine-2"),
    "a cancellation in milliseconds": cancellation(expires=1e13),
    "a cancellation by control characters": cancellation(caller="\x00"),
    "a heartbeat that all are asked for": sealed(BeatNow(time.time(), 5.0), ALL_NODES),
    "an interval that never ends": body({"kind": "beat", "time": 1.7e9, "interval": 1e308}),
}


@pytest.mark.parametrize("message", HOSTILE.values(), ids=HOSTILE.keys())
async def test_no_message_is_believed_that_is_not_right_and_none_ends_the_inbox(
    node: Node, middle: Middle, body: Body, message: bytes
) -> None:
    shown = middle.clock.now()
    await node.receive(message)
    assert node.refused == 1
    assert middle.clock.now() == pytest.approx(shown, abs=60)
    job = middle.job()
    await node.send(middle.release(job))
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])
    assert (body.begun, middle.controllers.jobs, node.refused) == (1, [job.id], 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda job: Release(job.id, "machine-1", time.time(), job.expires, job),
        lambda job: Cancellation(job.id, "machine-1", "ann", time.time(), job.created, job.expires),
        lambda job: Refresh(job.id, "machine-1", time.time()),
    ],
    ids=["a release", "a cancellation", "a question"],
)
async def test_nothing_but_a_heartbeat_can_be_asked_of_all(
    node: Node, middle: Middle, body: Body, make: Callable[[Any], Order]
) -> None:
    await node.receive(sealed(make(middle.job()), ALL_NODES), subject=ALL_NODES)
    assert (node.refused, body.begun, middle.executor.task_count) == (1, 0, 0)
    assert not middle.runner._cancelling


@pytest.mark.parametrize("start", ["fedcba9876543210", f"{START}.x", ""])
async def test_nothing_is_believed_that_is_for_another_start_though_the_broker_sends_it(
    node: Node, middle: Middle, body: Body, start: str
) -> None:
    subject = task_subject("machine-1", start)
    message = sealed(middle.release(middle.job()), subject)
    with pytest.raises(Unreadable, match="another start"):
        node.inbox.receive(Received(subject, message, ""))
    assert (node.refused, body.begun, middle.executor.task_count) == (1, 0, 0)


REPLIES: list[Callable[[str], str]] = [
    lambda _: "$JS.API.STREAM.DELETE.JOBS",
    lambda _: "$SYS.REQ.SERVER.PING",
    lambda _: "$JS.ACK.JOBS.a.1.1.1.1.0",
    lambda _: ALL_NODES,
    lambda _: "report.machine-2",
    lambda _: "task.machine-2.0123456789abcdef",
    lambda _: answer_subject("c1", "machine-2"),
    lambda job: f"answer.c1.{job}.machine-1",
    lambda _: answer_subject("*", "machine-1"),
    lambda _: answer_subject(">", "machine-1"),
    lambda _: answer_subject("", "machine-1"),
    lambda _: answer_subject("c1", "machine-1") + "\r\nPUB",
    lambda _: answer_subject("c" * 100_000, "machine-1"),
]


@pytest.mark.parametrize("reply", REPLIES)
async def test_nothing_is_answered_where_no_controller_listens(
    node: Node, middle: Middle, body: Body, reply: Callable[[str], str]
) -> None:
    job = middle.job(Effect.READ)
    await node.send(middle.release(job), reply=reply(job.id))
    assert (node.refused, middle.executor.task_count) == (1, 0)
    assert (body.begun, middle.connection.published) == (0, [])


async def test_an_error_that_nobody_expected_ends_no_inbox(
    node: Node, middle: Middle, body: Body, tmp_path: Path
) -> None:
    job = middle.job()

    def broken() -> float:
        raise RuntimeError("nobody expected this")

    middle.wall_clock = broken
    await node.send(middle.release(job))
    middle.wall_clock = time.time
    await node.send(middle.release(job))
    await until(lambda: middle.ends(job) == [(COMPLETED, None)])
