"""What comes through the nodes' account: nothing of it is believed, and nothing ends."""

import asyncio
import contextlib
import time
from pathlib import Path

import httpx
import msgspec
import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.parts.hostile.conftest import ALLOWED_LINES, System, here, until
from tests.testing.messages import (
    END,
    FOUND,
    HEARTBEAT,
    JOB_ID,
    MACHINE,
    MESSAGES,
    OTHER,
    REGISTRATION,
    RELEASE,
    START,
    hostile,
)
from tests.testing.signing import opened, sealed, signed
from towline.controller.controller import Controller
from towline.trust.signing import order_for
from towline.wire.inventory import MOST_NAMES, ImageHeld, Inventory
from towline.wire.job import new_id
from towline.wire.release import Refresh
from towline.wire.subjects import inbox_prefix

MANY = 10_000
LARGEST = 2 * 1024 * 1024
"""Bytes of a message that the broker takes of somebody in the nodes' account."""
HEADERS = [
    None,
    *({"Status": status} for status in ("100", "404", "408", "409", "503")),
    {"Nats-Rollup": "all"},
    {"Nats-Expected-Last-Sequence": "0"},
    {"Nats-Msg-Id": "the same"},
    {"Status": "503", "Description": "\udcff".encode("utf-8", "replace").decode()},
]
INBOX = f"{inbox_prefix(MACHINE)}.hostile.1"
REPLIES = [
    "",
    *("$JS.API.STREAM.DELETE.CHANGES", "$JS.API.STREAM.PURGE.CHANGES"),
    *("$SYS.REQ.SERVER.PING", "$KV.nodes.x", f"task.{MACHINE}.0123456789abcdef", "task._all"),
    *(f"beat.{MACHINE}", f"report.{MACHINE}", f"ask.{MACHINE}.register", "job.x", "report", "x"),
    *(
        "_INBOX",
        "_INBOX.",
        "_INBOXES.x",
        "_INBOX_.x",
        f"_INBOX_{MACHINE}.x",
        "_INBOX.x",
        f"_INBOX.{OTHER}.x",
        f"_INBOX.{MACHINE}",
        f"_INBOX.{MACHINE}x.x",
        f"_INBOX.{MACHINE}.*",
        f"_INBOX.{MACHINE}.>",
        "_INBOX.*.x",
        "_INBOX.>",
        f"_INBOX.{'x' * 600}",
    ),
]
"""Subjects on which nothing may be answered."""
FOREIGN = ("$", "task.", "beat.", "report.", "ask.")
"""What those of them begin with that no controller receives answers on, whatever its inbox."""


def samples(*names: str) -> list[bytes]:
    return [body for message in MESSAGES if message.name in names for body in hostile(message)]


REPORTS = [
    *samples("report", "led"),
    msgspec.json.encode(msgspec.structs.replace(END, machine=OTHER)),
    msgspec.json.encode(msgspec.structs.replace(END, machine="_", kind="cancelling")),
    msgspec.json.encode(msgspec.structs.replace(END, kind="released")),
    msgspec.json.encode(msgspec.structs.replace(FOUND, data={"value": "\0", "hostname": "x"})),
]
REGISTRATIONS = [
    *samples("registration"),
    msgspec.json.encode(msgspec.structs.replace(REGISTRATION, machine=OTHER)),
    msgspec.json.encode(msgspec.structs.replace(REGISTRATION, labels={"a": "b..c"})),
]
INVENTORIES = [
    *samples("inventory", "inventory change"),
    *(
        msgspec.json.encode(Inventory(START, "0", images=[ImageHeld("a", digests, names)]))
        for digests, names in (
            ([f"@{each}" for each in range(2000)], [*map(str, range(2000))]),
            ([], ["a:1"] * (MOST_NAMES + 1)),
        )
    ),
]
BODIES = {
    f"report.{MACHINE}": REPORTS,
    f"report.{MACHINE}.again": REPORTS,
    f"report.{OTHER}": [msgspec.json.encode(END)],
    f"beat.{MACHINE}": samples("heartbeat"),
    "beat._": [msgspec.json.encode(HEARTBEAT)],
    f"inventory.{MACHINE}": INVENTORIES,
    f"ask.{MACHINE}.register": REGISTRATIONS,
    f"ask.{MACHINE}.task": samples("task question"),
    f"ask.{MACHINE}.cooldown": samples("cooldown question"),
    f"ask.{MACHINE}.nothing": [b"{}"],
    "ask._.register": [msgspec.json.encode(REGISTRATION)],
}


def counted(controller: Controller) -> int:
    """Return how many messages were unreadable, or too many of one node to be read."""
    parts = controller.reports.first, controller.reports.again, controller.presence.heartbeats
    others = controller.questions.listener, controller.images.inventories._listener
    unreadable = sum(part.unreadable for part in (*parts, *others))
    return unreadable + controller.budget.dropped.total()


@pytest.mark.parametrize("login", ["nodes", "agents"])
async def test_controllers_believe_nothing_that_can_t_be_read(system: System, login: str) -> None:
    async with system.controller() as controller, system.agent():
        await here(controller)
        before = controller.fleet.get(MACHINE).registration  # type: ignore[union-attr]
        stored = controller.index.query("SELECT count(*) FROM event").fetchone()
        begun, sent = counted(controller), 0
        lines = len(system.logs)
        path: Path = getattr(system.logins, login)
        async with system.client(path) as client:
            while sent < MANY:
                for number, (subject, bodies) in enumerate(BODIES.items()):
                    for body in bodies:
                        headers = HEADERS[(sent + number) % len(HEADERS)]
                        await client.publish(subject, body, reply=INBOX, headers=headers)
                        sent += 1
                await client.flush(60)
                await until(
                    lambda: counted(controller) - begun >= sent,  # noqa: B023
                    f"{sent} to be counted",
                )
        # Of too many in its name the agent's own may be some.
        assert counted(controller) - begun - sent < 10
        assert len(system.logs) - lines < ALLOWED_LINES
        assert system.work.ran == []
        assert controller.index.query("SELECT count(*) FROM event").fetchone() == stored
        member = controller.fleet.get(MACHINE)
        assert member is not None
        assert member.registration == before
        assert controller.fleet.is_here(MACHINE)
        await system.works(controller)


async def test_nothing_is_answered_where_no_inbox_is(system: System) -> None:
    heard: list[str] = []
    async with (
        system.controller() as controller,
        system.agent(),
        system.client(system.logins.nodes) as client,
    ):
        await here(controller)

        async def spy(message: object) -> None:
            heard.append(message.subject)  # type: ignore[attr-defined]

        begun, sent = counted(controller), 0
        end = msgspec.json.encode(END)
        question = msgspec.json.encode({"job": JOB_ID})
        known = controller.fleet.get(MACHINE)
        assert known is not None
        registration = msgspec.json.encode(known.registration)
        for subject in ("$JS.>", "$SYS.>", "$KV.>", "job.>", "x"):
            await client.subscribe(subject, cb=spy)
        for reply in REPLIES:
            for subject, body in (
                (f"report.{MACHINE}", end),
                (f"report.{MACHINE}.again", end),
                (f"ask.{MACHINE}.task", question),
                (f"ask.{MACHINE}.register", registration),
            ):
                await client.publish(subject, body, reply=reply)
                sent += 1
        await until(lambda: counted(controller) - begun >= sent, "all to be counted")
        await system.works(controller)
        # An answer to what was sent to a node's subjects would have been unreadable there.
        assert counted(controller) - begun == sent
        assert heard == []


async def test_a_node_that_reports_what_is_not_its_own_changes_nothing(system: System) -> None:
    system.work.free.clear()
    async with (
        system.controller() as controller,
        system.agent(),
        system.client(system.logins.agents) as client,
    ):
        await here(controller)
        state = await system.do(controller, wait=0.0)
        await until(lambda: system.work.ran, "the task to be begun")
        inbox = await client.subscribe(f"{inbox_prefix(OTHER)}.>")
        for number in range(200):
            # Another node says how the task has ended, and ones that nobody has made.
            job = state.job.id if number % 2 else new_id()
            event = msgspec.structs.replace(END, job=job, machine=OTHER)
            await client.publish(
                *(f"report.{OTHER}", msgspec.json.encode(event)),
                reply=f"{inbox_prefix(OTHER)}.{number}",
            )
        for _ in range(200):
            answer = msgspec.json.decode(opened((await inbox.next_msg(timeout=60)).data))
            assert answer["status"] == "refused"
        found = controller.open.get(state.job.id)
        assert found is not None
        assert found.unfinished == {MACHINE}
        system.work.free.set()
        await until(lambda: controller.open.get(state.job.id) is None, "the end of the job")
        await system.works(controller)


async def test_progress_that_can_t_be_read_reaches_nobody(system: System) -> None:
    system.work.free.clear()
    bodies = samples("progress")
    async with (
        system.controller() as controller,
        system.agent(),
        system.client(system.logins.agents) as client,
    ):
        await here(controller)
        job = (await system.do(controller, wait=0.0)).job.id
        await until(lambda: system.work.ran, "the task to be begun")
        async with controller.watches.follow(job) as watch:
            await until(watch.reports.ready.is_set, "the subscription")
            begun, lines, sent = controller.watches.unreadable, len(system.logs), 0
            while sent < MANY:
                for body in bodies:
                    headers = HEADERS[sent % len(HEADERS)]
                    await client.publish(f"progress.{MACHINE}.{job}", body, headers=headers)
                    sent += 1
                await client.flush(60)
            await until(lambda: controller.watches.unreadable - begun >= sent, "all to be counted")
            shown = watch.picture.node(MACHINE, parts=True)
            assert (shown.phase, shown.note, shown.fetched, shown.parts) == (None, None, 0, [])
            assert len(system.logs) - lines < ALLOWED_LINES
        system.work.free.set()
        await system.works(controller)


async def send_hostile(client: Client, start: str, bodies: list[bytes]) -> int:
    sent = 0
    for subject in (f"task.{MACHINE}.{start}", "task._all"):
        for body in bodies:
            headers = HEADERS[sent % len(HEADERS)]
            message = signed(body, order_for(subject, INBOX)) if sent % 2 else body
            await client.publish(subject, message, reply=INBOX, headers=headers)
            sent += 1
    return sent


async def test_an_agent_believes_nothing_that_can_t_be_read(system: System) -> None:
    bodies = samples("release", "cancellation", "beat now", "refresh", "recount")
    other = msgspec.structs.replace(RELEASE, machine=OTHER)
    two = msgspec.structs.replace(RELEASE, id=new_id())
    bodies += [msgspec.json.encode(each) for each in (other, two)]
    bodies.append(msgspec.json.encode(Refresh(JOB_ID, OTHER, RELEASE.time)))
    async with (
        system.controller() as controller,
        system.agent() as agent,
        system.client(system.logins.nodes) as client,
    ):
        await here(controller)
        member = controller.fleet.get(MACHINE)
        assert member is not None
        begun, sent, lines = agent.refused, 0, len(system.logs)
        while sent < MANY:
            sent += await send_hostile(client, member.start, bodies)
            await client.flush(60)
            await until(lambda: agent.refused - begun >= sent, "all to be counted")  # noqa: B023
        # What is whole, but where it must not be: for all what is for one.
        own = f"task.{MACHINE}.{member.start}"
        now = time.time()
        release = msgspec.structs.replace(RELEASE, time=now, expires=now + 60)
        await client.publish("task._all", sealed(release, "task._all"))
        replies = [each for each in REPLIES if each.startswith(FOREIGN)]
        for reply in replies:
            await client.publish(own, sealed(release, own, reply), reply=reply)
        sent += 1 + len(replies)
        await until(lambda: agent.refused - begun >= sent, "all to be counted")
        await asyncio.sleep(0)
        assert agent.refused - begun == sent
        assert len(system.logs) - lines < ALLOWED_LINES
        assert system.work.ran == []
        assert controller.index.query("SELECT count(*) FROM event").fetchone() == (0,)
        await system.works(controller)


async def test_what_a_node_is_called_says_the_plan(system: System) -> None:
    system.work.free.clear()
    async with (
        system.controller() as controller,
        system.agent(),
        system.client(system.logins.agents) as client,
    ):
        await here(controller)
        job = (await system.do(controller, wait=0.0)).job.id
        await until(lambda: system.work.ran, "the task to be begun")
        data = {"hostname": "db-01", "machine_id": OTHER, "x": 1}
        event = msgspec.structs.replace(END, job=job, hostname="db-01", data=data, error=None)
        await client.publish(f"report.{MACHINE}", msgspec.json.encode(event), reply=INBOX)
        await until(lambda: controller.open.get(job) is None, "the end of the job")
        found = controller.index.find(job)
        assert found is not None
        assert [task.results() for task in found[0].tasks.values()] == [
            [{"hostname": "web-01", "machine_id": MACHINE, "status": "ok", "x": 1}]
        ]
        assert {each.hostname for each in found[1] if each.machine == MACHINE} == {"web-01"}
        system.work.free.set()
        await system.works(controller)


async def test_of_a_flood_of_questions_by_one_node_as_many_are_answered_as_a_node_may_ask(
    system: System,
) -> None:
    answers: list[str] = []

    async def answered(message: Msg) -> None:
        answers.append(msgspec.json.decode(opened(message.data))["error"])

    async def ask(machine: str) -> None:
        await client.publish(
            f"ask.{machine}.task",
            msgspec.json.encode({"job": new_id()}),
            reply=f"{inbox_prefix(machine)}.{len(answers)}",
        )

    async with (
        system.controller() as controller,
        system.agent(),
        system.client(system.logins.agents) as client,
    ):
        await here(controller)
        await client.subscribe(f"{inbox_prefix(MACHINE)}.>", cb=answered)
        lines = len(system.logs)
        for _ in range(2000):
            await ask(MACHINE)
        dropped = controller.budget.dropped
        await until(lambda: len(answers) + dropped[MACHINE] >= 2000, "all to be counted")
        assert dropped[MACHINE] > 0
        assert (await controller.health.status()).agents.dropped == dropped[MACHINE]
        token = system.keys.create(subject="ann", roles=["read"], lifetime=60.0)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(controller.application()),
            base_url="http://controller",
            headers={"Authorization": f"Bearer {token}"},
        ) as api:
            shown = (await api.get("/agent/web-01")).raise_for_status().json()
            listed = (await api.get("/agent")).raise_for_status().json()
        assert shown["dropped"] == dropped[MACHINE]
        assert [each["dropped"] for each in listed["agents"]] == [dropped[MACHINE]]
        assert len(answers) >= 900
        assert all("not for this node" in each for each in answers)
        assert len(system.logs) - lines < ALLOWED_LINES
        # Another node is answered as ever.
        answers.clear()
        await client.subscribe(f"{inbox_prefix(OTHER)}.>", cb=answered)
        await ask(OTHER)
        await until(lambda: answers, "an answer to another node")
        assert dropped[OTHER] == 0
        await system.works(controller)


async def test_messages_as_large_as_a_broker_takes_end_nothing(system: System) -> None:
    large = [b" " * LARGEST, b"[" * LARGEST, b'{"a":"' + b"x" * (LARGEST - 8) + b'"}']
    async with (
        system.controller() as controller,
        system.agent() as agent,
        system.client(system.logins.nodes) as client,
    ):
        await here(controller)
        member = controller.fleet.get(MACHINE)
        assert member is not None
        begun, sent = counted(controller) + agent.refused, 0
        for subject in (*BODIES, f"task.{MACHINE}.{member.start}", "task._all"):
            for body in large:
                await client.publish(subject, body, reply=INBOX)
                await client.flush(60)
                sent += 1
        await until(
            lambda: counted(controller) + agent.refused - begun >= sent, "all to be counted"
        )
        await system.works(controller)


async def test_who_sends_more_than_the_account_may_loses_its_own_connection(
    system: System,
) -> None:
    async with system.controller() as controller, system.agent():
        await here(controller)
        lines = len(system.logs)
        for _ in range(20):
            async with system.client(system.logins.agents) as client:
                await client.publish(f"report.{MACHINE}", b"[" * (LARGEST + 1), reply=INBOX)
                with contextlib.suppress(nats.errors.Error, OSError):
                    await client.flush(1)
        assert [each for each in system.logs[lines:] if "lost" in each["event"]] == []
        await system.works(controller)
