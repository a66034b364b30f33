"""Who holds the broker itself, with all its logins, has nodes do nothing.

What is put on a node's subject here is what controllers send it, but for what is said: after each
of these the genuine message is sent, too, and obeyed.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.parts.hostile.conftest import ALLOWED_LINES, System, here, until
from tests.parts.hostile.test_answers import TASK, fresh
from tests.testing.messages import MACHINE, OTHER
from tests.testing.signing import SIGNER, STRANGER, opened, sealed
from towline.agent.agent import Agent
from towline.agent.executor import job_of
from towline.controller.controller import Controller
from towline.endpoints.nodes import view
from towline.trust.signing import Signer, answer_to, order_for
from towline.wire import messages
from towline.wire.job import new_id
from towline.wire.release import BeatNow, Cancellation, Envelope, Order, Refresh, Release
from towline.wire.report import REFUSED, STORED, Answer, Receipt
from towline.wire.subjects import ALL_NODES, answer_subject, task_subject


@pytest.fixture
async def attacker(system: System) -> AsyncIterator[Client]:
    """Somebody with the login that controllers have where the nodes are."""
    async with system.client(system.logins.nodes) as client:
        yield client


def a_task() -> Release:
    """Return a task that no controller knows, as one would release it."""
    made = with_job(TASK, id=new_id(), created=time.time() - 1)
    return fresh(msgspec.structs.replace(made, id=job_of(made).id))


def own_subject(agent: Agent) -> str:
    return task_subject(MACHINE, agent._start)


async def see_refused(system: System, controller: Controller, agent: Agent, count: int) -> None:
    """See that so many messages were refused, that nothing came of it, and where it is shown."""
    await until(lambda: agent.refused >= count, "all to be refused")
    assert (agent.refused, system.work.ran) == (count, [])
    member = controller.fleet.get(MACHINE)
    assert member is not None
    await until(lambda: view(member).refused == count, "the controller to know")
    assert view(member).refusal
    counted = (await controller.health.status()).agents
    assert (counted.ready, counted.refused) == (1, count)
    lines = [
        each for each in system.logs if each["event"] == "a node does not believe what it was sent"
    ]
    assert lines
    assert lines[0]["machine"] == MACHINE
    assert len(system.logs) < ALLOWED_LINES
    # Whatever its ledger may have taken of them is reported.
    assert agent._ledger.held(10) == []


async def see_obeyed(system: System, attacker: Client, agent: Agent, release: Release) -> None:
    """See that a release is obeyed as it is: so what was refused was refused for what it was."""
    own = own_subject(agent)
    await attacker.publish(own, sealed(fresh(release), own))
    await until(lambda: system.work.ran == [release.id], "the genuine one to run")


def altered(message: bytes) -> Iterable[bytes]:
    """Yield a message with another byte at each of its places."""
    for at, byte in enumerate(message):
        yield message[:at] + bytes([byte ^ 1 << at % 7]) + message[at + 1 :]


async def test_no_byte_of_a_task_can_be_another(system: System, attacker: Client) -> None:
    async with system.controller() as controller, system.agent() as agent:
        await here(controller)
        own, release = own_subject(agent), a_task()
        sent = 0
        for each in altered(sealed(release, own)):
            await attacker.publish(own, each)
            sent += 1
        assert sent > 500
        await see_refused(system, controller, agent, sent)
        await see_obeyed(system, attacker, agent, release)


def with_job(release: Release, **fields: Any) -> Release:
    job = msgspec.structs.replace(job_of(release), **fields)
    return msgspec.structs.replace(release, job=job)


def unsigned(release: Release, own: str) -> list[bytes]:
    """Return a task as somebody without a key can make it."""
    body = msgspec.Raw(msgspec.json.encode(release))
    genuine = messages.envelope(sealed(release, own))
    another = messages.envelope(sealed(a_task(), own))
    forged = msgspec.json.encode(with_job(release, caller="root"))
    envelopes = [
        Envelope(body, SIGNER.kid, "00" * 64),
        # Signatures of something else that a controller has sent here.
        msgspec.structs.replace(another, body=body),
        msgspec.structs.replace(genuine, body=msgspec.Raw(forged)),
        msgspec.structs.replace(genuine, kid=STRANGER.kid),
    ]
    return [
        bytes(body),
        msgspec.json.encode({"body": body}),
        msgspec.json.encode({"body": body, "kid": SIGNER.kid, "sig": ""}),
        *map(msgspec.json.encode, envelopes),
    ]


def signed_elsewhere(release: Release, own: str) -> list[bytes]:
    """Return a task as it is signed by others, and for other places."""
    reply = answer_subject("c1", MACHINE)
    subjects = [
        task_subject(OTHER, "0123456789abcdef"),
        task_subject(MACHINE, "0123456789abcdef"),
        ALL_NODES,
    ]
    return [
        sealed(release, own, by=STRANGER),
        *(sealed(release, subject) for subject in subjects),
        sealed(release, own, reply),
        SIGNER.seal(release, answer_to(f"ask.{MACHINE}.task", b"", reply)),
        # By whoever has the key, but by mistake.
        sealed(msgspec.structs.replace(release, machine=OTHER), own),
        sealed(msgspec.structs.replace(release, id=new_id()), own),
    ]


def of_another_time(release: Release, own: str) -> list[bytes]:
    """Return a task that is too old, or of the future."""
    now = time.time()
    times = [now - 3600.0, now - 120.0, now + 120.0, now + 86400.0]
    return [
        *(sealed(msgspec.structs.replace(release, time=each), own) for each in times),
        sealed(with_job(release, created=now + 120.0), own),
    ]


@pytest.mark.parametrize("make", [unsigned, signed_elsewhere, of_another_time])
async def test_no_task_is_begun_that_no_controller_has_sent_just_there_just_now(
    system: System, attacker: Client, make: Callable[[Release, str], list[bytes]]
) -> None:
    async with system.controller() as controller, system.agent() as agent:
        await here(controller)
        own, release = own_subject(agent), a_task()
        sent = make(release, own)
        for each in sent:
            await attacker.publish(own, each)
        await see_refused(system, controller, agent, len(sent))
        await see_obeyed(system, attacker, agent, release)


async def test_a_task_that_has_expired_is_not_begun(system: System, attacker: Client) -> None:
    async with system.controller() as controller, system.agent() as agent:
        await here(controller)
        own, release = own_subject(agent), a_task()
        over = time.time() - 1
        for late in (
            msgspec.structs.replace(release, expires=over),
            msgspec.structs.replace(with_job(release, expires=over), expires=over),
        ):
            await attacker.publish(own, sealed(late, own))
        other = a_task()
        await see_obeyed(system, attacker, agent, other)


# Sent again


async def capture(system: System, attacker: Client, controller: Controller) -> tuple[str, bytes]:
    """Return what a controller sends a node with a task, and where."""
    caught: list[Msg] = []

    async def keep(message: Msg) -> None:
        caught.append(message)

    listening = await attacker.subscribe("task.*.*", cb=keep)
    await attacker.flush()
    await system.do(controller)
    await listening.unsubscribe()
    return caught[0].subject, caught[0].data


async def test_what_was_run_is_not_run_again(system: System, attacker: Client) -> None:
    ran = system.work.ran
    async with system.controller() as controller:
        async with system.agent() as agent:
            await here(controller)
            subject, message = await capture(system, attacker, controller)
            assert len(ran) == 1
            for _ in range(50):
                await attacker.publish(subject, message)
            await see_other_work(system, controller)
            await agent._ledger.forget(time.time() + 1e6)
            assert agent._ledger.state_of(ran[0]) is None
            await attacker.publish(subject, message)
            await see_other_work(system, controller)
        for lost in (False, True):
            if lost:
                for path in system.directory.glob("ledger.sqlite*"):
                    await asyncio.to_thread(path.unlink)
            async with system.agent() as agent:
                await here(controller)
                await until(lambda: _start_of(controller) == agent._start, "the new start")
                await attacker.publish(subject, message)
                await attacker.publish(own_subject(agent), message)
                await until(lambda: agent.refused == 1, "it to be refused")
                await see_other_work(system, controller)
        assert len(set(ran)) == len(ran)


def _start_of(controller: Controller) -> str:
    member = controller.fleet.get(MACHINE)
    return "" if member is None else member.start


async def see_other_work(system: System, controller: Controller) -> None:
    """See that a task behind what was sent runs, and nothing else."""
    before = len(system.work.ran)
    async with asyncio.timeout(60):
        state = await system.do(controller)
    assert system.work.ran[before:] == [state.job.id]


async def test_what_was_kept_back_for_too_long_is_refused(system: System, attacker: Client) -> None:
    async with system.controller() as controller, system.agent(fresh_for=2.0) as agent:
        await here(controller)
        own, release, now = own_subject(agent), a_task(), time.time()
        kept: list[bytes] = [
            sealed(order, own)
            for order in (
                release,
                Cancellation(release.id, MACHINE, "ann", now, now, now + 3600),
                Refresh(release.id, MACHINE, now),
            )
        ]
        to_all = sealed(BeatNow(now, 300.0), ALL_NODES)
        await asyncio.sleep(2.5)
        for message in kept:
            await attacker.publish(own, message)
        await attacker.publish(ALL_NODES, to_all)
        await see_refused(system, controller, agent, 4)
        assert agent._heartbeats.interval < 300.0
        await see_obeyed(system, attacker, agent, release)


# Cancellations, and whatever else stops or begins a task


def cancellations(job: str, own: str, earlier: bytes) -> list[bytes]:
    """Return what would cancel a task; `earlier` has cancelled another one."""
    now = time.time()
    order = Cancellation(job, MACHINE, "ann", now, now - 1, now + 3600)
    body = msgspec.Raw(msgspec.json.encode(order))
    signed = messages.envelope(earlier)
    moved = opened(earlier).replace(json.loads(opened(earlier))["id"].encode(), job.encode())
    return [
        bytes(body),
        msgspec.json.encode({"body": body}),
        msgspec.json.encode(msgspec.structs.replace(signed, body=body)),
        msgspec.json.encode(msgspec.structs.replace(signed, body=msgspec.Raw(moved))),
        sealed(order, own, by=STRANGER),
        sealed(order, task_subject(OTHER, "0123456789abcdef")),
        sealed(order, ALL_NODES),
        sealed(msgspec.structs.replace(order, machine=OTHER), own),
        sealed(msgspec.structs.replace(order, time=now - 3600), own),
        sealed(msgspec.structs.replace(order, time=now + 3600), own),
    ]


async def test_no_task_is_cancelled_by_anybody_but_a_controller(
    system: System, attacker: Client
) -> None:
    system.work.free.clear()
    async with system.controller() as controller, system.agent() as agent:
        await here(controller)
        caught: list[Msg] = []

        async def keep(message: Msg) -> None:
            if b'"cancel"' in message.data:
                caught.append(message)

        await attacker.subscribe("task.*.*", cb=keep)
        await attacker.flush()
        first = await system.do(controller, wait=0.0)
        await until(lambda: system.work.ran == [first.job.id], "the first to run")
        ended = await controller.steering.cancel(first, caller="ann", wait=60.0)
        assert {task.status for task in ended.tasks.values()} == {"cancelled"}
        second = asyncio.create_task(system.do(controller))
        await until(lambda: len(system.work.ran) == 2, "the second to run")
        job = system.work.ran[1]
        own, before = own_subject(agent), agent.refused
        forged = [*cancellations(job, own, caught[0].data), *altered(caught[0].data)]
        # Sent again it cancels what it has cancelled.
        for each in [*forged, caught[0].data]:
            await attacker.publish(own, each)
        await until(lambda: agent.refused - before == len(forged), "all to be refused")
        await asyncio.sleep(0.1)
        assert agent._ledger.held(10) == [job]
        system.work.free.set()
        assert {task.status for task in (await second).tasks.values()} == {"ok"}


def receipts(by: Signer) -> Callable[[str, bytes, str], list[bytes]]:
    """Return what makes answers to a report that would stop or begin its task, and set clocks."""

    def make(subject: str, data: bytes, reply: str) -> list[bytes]:
        later = time.time() + 86400
        found: list[msgspec.Struct] = [
            Receipt(STORED, later, over=True),
            Receipt(REFUSED, later, "no", over=True),
            Receipt(STORED, later, leave=True),
        ]
        purposes = [
            answer_to(subject, data, f"{reply}1"),
            answer_to(subject, data + b" ", reply),
            answer_to(f"{subject}.again", data, reply),
            order_for(reply, ""),
        ]
        if by is not SIGNER:
            purposes = [answer_to(subject, data, reply)]
        made = [by.seal(each, purpose) for each in found for purpose in purposes]
        return [*made, *(msgspec.json.encode(each) for each in found)]

    return make


@pytest.mark.parametrize("by", [SIGNER, STRANGER], ids=["to other questions", "a stranger"])
async def test_no_answer_is_believed_but_a_controllers_to_this_very_question(
    system: System, attacker: Client, by: Signer
) -> None:
    make, answered = receipts(by), 0

    async def answer(message: Msg) -> None:
        nonlocal answered
        forged = make(message.subject, message.data, message.reply)
        await attacker.publish(message.reply, forged[answered % len(forged)])
        answered += 1

    async def register(message: Msg) -> None:
        nonlocal answered
        answered += 1
        later = Answer(time.time() + 86400, interval=600.0)
        await attacker.publish(message.reply, msgspec.json.encode(later))

    async with system.controller() as controller, system.agent() as agent:
        await here(controller)
        before = agent.refused
        own, release = own_subject(agent), a_task()
        # The controllers are cut off.
        controller.reports.first._receive = lambda _: None
        controller.reports.again._receive = lambda _: None
        controller.questions.listener._receive = lambda _: None
        await attacker.subscribe("report.*", cb=answer)
        await attacker.subscribe("report.*.again", cb=answer)
        await attacker.subscribe(f"ask.{MACHINE}.register", cb=register)
        await attacker.flush()
        agent._heartbeats.register_anew()
        waits = msgspec.structs.replace(release, leave=True)
        await attacker.publish(own, sealed(waits, own))
        await until(lambda: answered > 8, "forged answers")
        await until(lambda: agent.refused - before >= 8, "them to be refused")
        # It asks for leave, and has it from nobody who may give it.
        assert system.work.ran == []
        assert agent._ledger.held(10) == [release.id]
        assert abs(agent._controllers.clock.now() - time.time()) < 30
        assert agent._heartbeats.interval < 600.0


async def test_the_captured_answer_to_another_node_gives_no_leave(
    system: System, attacker: Client, tmp_path: Path
) -> None:
    """A controller signs an answer for whoever asks, and for what he has asked."""
    async with system.controller() as controller, system.agent() as agent:
        await here(controller)
        before = agent.refused
        stolen: list[Msg] = []

        async def relay(message: Msg) -> None:
            # The same place for the answer, to another question.
            stolen.append(message)
            body = message.data.replace(b'"hostname":"web-01"', b'"hostname":"web-02"')
            await attacker.publish(f"{message.subject}.again", body, reply=message.reply)

        await attacker.subscribe("report.*", cb=relay)
        await attacker.flush()
        controller.reports.first._receive = lambda _: None
        own, release = own_subject(agent), a_task()
        await attacker.publish(own, sealed(release, own))
        await until(lambda: agent.refused > before, "the answer to be refused")
        assert stolen


# What is for all


async def test_nobody_else_asks_all_nodes_for_anything(system: System, attacker: Client) -> None:
    async with system.controller() as controller, system.agent() as agent:
        await here(controller)
        order: Order = BeatNow(time.time(), 300.0)
        body = msgspec.json.encode(order)
        forged = [
            body,
            msgspec.json.encode({"body": msgspec.Raw(body)}),
            sealed(order, ALL_NODES, by=STRANGER),
            sealed(order, own_subject(agent)),
            sealed(BeatNow(time.time() - 3600, 300.0), ALL_NODES),
            sealed(BeatNow(time.time() + 3600, 300.0), ALL_NODES),
        ]
        for each in forged:
            await attacker.publish(ALL_NODES, each)
        await see_refused(system, controller, agent, len(forged))
        assert agent._heartbeats.interval < 300.0
        await attacker.publish(ALL_NODES, sealed(BeatNow(time.time(), 300.0), ALL_NODES))
        await until(lambda: agent._heartbeats.interval == 300.0, "the genuine one")
