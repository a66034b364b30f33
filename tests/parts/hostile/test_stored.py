"""What whoever holds the broker stores there: no controller takes it for its own, or sends it."""

import asyncio
import time

import msgspec

from tests.parts.hostile.conftest import OwnSystem, here, until
from tests.testing.messages import MACHINE, OTHER, REGISTRATION
from towline.broker.seal import MARK, Seal
from towline.wire.event import CANCELLING, COMPLETED, NOBODY, Event
from towline.wire.job import Job, PlannedNode, new_id
from towline.wire.subjects import REPORTED, decision_subject, job_subject


def job(**more: object) -> Job:
    now = time.time()
    made = Job(
        *(new_id(), "test.converge", {}, MACHINE, "root", now, now + 3600),
        plan=[PlannedNode(MACHINE, "web-01")],
    )
    return msgspec.structs.replace(made, **more)


def stored(seal: Seal, subject: str, value: object) -> bytes:
    return seal.close(subject, msgspec.json.encode(value))


async def test_jobs_and_decisions_that_no_controller_has_stored_are_not_obeyed(
    own_system: OwnSystem,
) -> None:
    system = own_system
    seal = system.seal
    forged, moved = job(), job()
    altered = bytearray(stored(seal, job_subject(forged.id), forged))
    altered[MARK + 10] ^= 1
    system.work.free.clear()
    async with (
        system.controller() as controller,
        system.agent(),
        system.client(system.logins.credentials) as client,
    ):
        await here(controller)
        running = (await system.do(controller, wait=0.0)).job
        await until(lambda: system.work.ran, "the task to be begun")
        now = time.time()
        cancelled = Event(running.id, NOBODY, "", CANCELLING, now)
        ended = [Event(running.id, MACHINE, "web-01", COMPLETED, now, data={})]
        for subject, body in [
            (job_subject(forged.id), msgspec.json.encode(forged)),
            (job_subject(forged.id), bytes(altered)),
            (job_subject(forged.id), stored(Seal(bytes(32)), job_subject(forged.id), forged)),
            # What a controller has stored elsewhere.
            (job_subject(forged.id), stored(seal, job_subject(moved.id), forged)),
            (decision_subject(running.id), msgspec.json.encode(cancelled)),
            (REPORTED, msgspec.json.encode(ended)),
        ]:
            await client.publish(subject, body)
        await client.flush(60)
        await until(lambda: controller.indexer.unreadable == 6, "all to be counted")
        assert system.work.ran == [running.id]
        open_job = controller.open.get(running.id)
        assert open_job is not None
        assert (open_job.cancelled, open_job.done) == (None, False)
        assert (await controller.health.status()).forged == 6
        system.work.free.set()
        await until(lambda: controller.open.get(running.id) is None, "the end of the job")
        await system.works(controller)
    # And by a controller that folds all of it anew.
    ran = len(system.work.ran)
    await asyncio.to_thread((system.directory / "index.sqlite").unlink)
    async with system.controller() as controller, system.agent():
        await here(controller)
        assert controller.indexer.unreadable == 6
        assert len(system.work.ran) == ran
        await system.works(controller)


async def test_a_node_that_no_controller_has_stored_is_none(own_system: OwnSystem) -> None:
    system = own_system
    async with (
        system.controller() as controller,
        system.agent(),
        system.client(system.logins.credentials) as client,
    ):
        await here(controller)
        member = controller.fleet.get(MACHINE)
        assert member is not None
        before = member.registration
        # Whoever has its key would read the credentials that are sealed to it.
        other = msgspec.structs.replace(before, public_key="A" * 43 + "=")
        await client.publish(f"$KV.nodes.{MACHINE}", msgspec.json.encode(other))
        await client.publish(f"$KV.nodes.{OTHER}", msgspec.json.encode(REGISTRATION))
        await client.flush(60)
        await until(lambda: system.seal.refused >= 2, "both to be found")
        member = controller.fleet.get(MACHINE)
        assert member is not None
        assert member.registration == before
        assert controller.fleet.get(OTHER) is None
        await system.works(controller)
