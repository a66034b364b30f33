"""What stands in the journal and in the buckets: what can't be read stops nothing behind it."""

import asyncio
from typing import Any

import msgspec
from nats.aio.client import Client

from tests.parts.hostile.conftest import ALLOWED_LINES, System, here, until
from tests.testing.messages import (
    DECISION,
    END,
    FOUND,
    JOB,
    JOB_ID,
    MACHINE,
    MESSAGES,
    OTHER,
    REGISTRATION,
    hostile,
)
from tests.testing.sets import a_set
from towline.controller.controller import Controller
from towline.wire.event import CANCELLING, NOBODY
from towline.wire.job import new_id
from towline.wire.messages import MOST_IN_GROUP, Answered

HEADERS: list[dict[str, str] | None] = [
    None,
    *({"Status": status} for status in ("100", "404", "408", "409", "503")),
    {"Status": "409", "Description": "Batch Completed"},
    {"Nats-Sequence": "1", "Nats-Stream": "CHANGES"},
]


def samples(*names: str) -> list[bytes]:
    return [body for message in MESSAGES if message.name in names for body in hostile(message)]


def encoded(whole: Any, **fields: Any) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(whole, **fields))


STEP = msgspec.structs.replace(END, kind="step", data=None)
BODIES = {
    f"job.{JOB_ID}": [*samples("job"), encoded(JOB, id=new_id())],
    "job.x": [msgspec.json.encode(JOB)],
    f"decision.{JOB_ID}": [
        *samples("decision"),
        encoded(DECISION, job=new_id()),
        msgspec.json.encode(END),
        encoded(FOUND, machine=NOBODY, data={"value": "\0", "hostname": "x"}),
    ],
    "report": [
        *samples("group"),
        msgspec.json.encode([END, DECISION]),
        msgspec.json.encode([STEP] * (MOST_IN_GROUP + 1)),
    ],
    "read": [
        *samples("answered"),
        msgspec.json.encode([Answered(JOB, [STEP] * MOST_IN_GROUP)]),
    ],
}


async def store(client: Client, subject: str, body: bytes, number: int) -> None:
    headers = HEADERS[number % len(HEADERS)]
    await client.publish(subject, body, headers=headers)


async def test_messages_in_the_journal_that_can_t_be_read_are_counted(system: System) -> None:
    system.work.free.clear()
    async with (
        system.controller() as controller,
        system.agent(),
        system.client(system.logins.credentials) as client,
    ):
        await here(controller)
        job = (await system.do(controller, wait=0.0)).job
        await until(lambda: system.work.ran, "the task to be begun")
        about = msgspec.structs.replace(DECISION, job=job.id, kind=CANCELLING, nodes=None)
        begun, sent, lines = controller.indexer.unreadable, 0, len(system.logs)
        for subject, bodies in BODIES.items():
            for body in bodies:
                await store(client, subject, body, sent)
                sent += 1
        # A cancellation of a job that goes on, on the subject of another's decisions.
        await store(client, f"decision.{JOB_ID}", msgspec.json.encode(about), 0)
        sent += 1
        await client.flush(60)
        await until(lambda: controller.indexer.unreadable - begun >= sent, "all to be counted")
        assert controller.indexer.unreadable - begun == sent
        assert len(system.logs) - lines < ALLOWED_LINES
        found = controller.open.get(job.id)
        assert found is not None
        assert found.cancelled is None
        assert [state.job.id for state in controller.open] == [job.id]
        assert controller.index.query("SELECT count(*) FROM job").fetchone() == (1,)
        system.work.free.set()
        await until(lambda: controller.open.get(job.id) is None, "the end of the job")
        await system.works(controller)
    # And by a controller that folds all of it anew.
    await asyncio.to_thread((system.directory / "index.sqlite").unlink)
    async with system.controller() as controller, system.agent():
        await here(controller)
        assert controller.indexer.unreadable == sent
        await system.works(controller)


BUCKETS = {
    f"nodes.{MACHINE}": [*samples("registration"), encoded(REGISTRATION, machine=OTHER)],
    f"nodes.{OTHER}": [
        encoded(REGISTRATION, machine=OTHER, labels={"a": "b..c"}),
        msgspec.json.encode(REGISTRATION),
    ],
    f"states.{MACHINE}": [
        *(b'{"drained":1e308}', b'{"drained":-1}', b'{"drained":"x"}', b'{"by":"a\\u0000"}'),
        *(b'{"changed":1e308}', b'{"drained":NaN}', b"[]", b"\xff", b"[" * 100_000),
    ],
    "cooldowns.0123456789abcdef": samples("job", "task question"),
    "credentials.registry.61": [b"{}", b"\xff", b"[" * 100_000, b'{"registry":1}'],
    f"credentials.job.{JOB_ID}": [b"{}", b"\xff", b"[" * 100_000, b'{"registry":1}'],
    "credentials.job.no-id": [b"{}"],
    "requests.0123": [b"{}", b"\xff", b"[" * 100_000],
    "signs.3": [b"{}", b"\xff", b"[" * 100_000, b'{"heard":{"m1":1e308}}', b'{"heard":{"a.b":1}}'],
    "sets.web": [b"{}", b"\xff", b"[" * 100_000, encoded(a_set(target="_any"))],
    "sets.other": [encoded(a_set()), encoded(a_set("NGINX", name="other"))],
    "set_states.web": [b"{}", b"\xff", b"[" * 100_000, b'{"id":"1","paused":1e308}'],
    "leases.rollouts": [b"{}", b"\xff", b"[" * 100_000, b'{"holder":1,"since":1e308}'],
}
FOLLOWED = ("nodes", "states", "cooldowns", "signs", "sets", "set_states")
"""Buckets that are read as they change; the others are when somebody asks."""


def misread(controller: Controller) -> int:
    presence = controller.presence
    buckets = (
        *(presence._registrations, presence._states),
        *(controller.cooldowns._bucket, controller.signs._bucket),
        *(controller.images.sets._bucket, controller.images.sets._states),
    )
    return sum(bucket.unreadable for bucket in buckets)


async def test_values_in_buckets_that_can_t_be_read_are_counted(system: System) -> None:
    async with (
        system.controller() as controller,
        system.agent(),
        system.client(system.logins.credentials) as client,
    ):
        await here(controller)
        member = controller.fleet.get(MACHINE)
        assert member is not None
        before, sent, followed, lines = member.registration, 0, 0, len(system.logs)
        for key, bodies in BUCKETS.items():
            for body in bodies:
                await store(client, f"$KV.{key}", body, sent)
                sent += 1
                followed += key.startswith(FOLLOWED)
        await client.flush(60)
        # The broker passes on the newest value of a key, not each that it has had.
        await until(lambda: misread(controller) > 0, "some to be counted")
        await store(client, f"$KV.nodes.{OTHER}", b"the last", 0)
        await client.flush(60)
        assert await controller.credentials.all() == []
        await controller.job_credentials.tidy()
        assert misread(controller) <= followed + 1
        assert len(system.logs) - lines < ALLOWED_LINES
        member = controller.fleet.get(MACHINE)
        assert member is not None
        assert member.registration == before
        assert member.drained is None
        assert controller.fleet.get(OTHER) is None
        assert controller.images.sets.get("other") is None
        await system.works(controller)
    # A controller that finds them when it starts learns of the node when that registers anew.
    async with system.controller() as controller, system.agent():
        assert misread(controller) > 0
        await here(controller)
        await system.works(controller)
