"""The key that jobs are signed with is replaced while nodes pull, and two are away."""

import asyncio
import contextlib
import shutil
import time

from tests.system.rotation.conftest import BY_HAND, DAY, INVITED, Rotating
from tests.testing.command import failed
from tests.testing.gate import Gate
from tests.testing.own_broker import OwnBroker
from tests.testing.process import wait_until
from tests.testing.registry import PushedImage
from towline.trust.job_keys import JOBS_PUBLIC, load_signer
from towline.trust.keys import JOBS_KEY, NODES_LOGIN
from towline.trust.signing import Signer, order_for
from towline.wire import messages
from towline.wire.job import Job, new_id
from towline.wire.release import Release
from towline.wire.subjects import heartbeat_subject, task_subject

AWAY, ENDED = "away", "ended"


def copy_by_hand(rotating: Rotating) -> None:
    """Give the node that came by no invite what the first controller has written for agents."""
    shutil.copy2(rotating.states[0] / JOBS_PUBLIC, rotating.cluster.directory / JOBS_PUBLIC)


def signer(rotating: Rotating) -> Signer:
    return load_signer(rotating.trust.path(JOBS_KEY), create=False)


async def send(rotating: Rotating, machine: str, by: Signer, name: str) -> None:
    """Send a node what it would pass the gate for, signed by a key, as the broker's holder may."""
    broker = rotating.cluster.broker
    assert isinstance(broker, OwnBroker)
    async with broker.client(broker.trust.path(NODES_LOGIN)) as client:
        beats = await client.subscribe(heartbeat_subject(machine))
        message = await beats.next_msg(timeout=20)
        _, beat = messages.heartbeat(message.subject, message.data)
        now = time.time()
        job = Job(
            *(new_id(), "gate.pass", {"name": name}, INVITED, "tests", now, now + 60),
            effect="converge",
        )
        subject = task_subject(machine, beat.start)
        release = Release(job.id, machine, now, job.expires, job)
        await client.publish(subject, by.seal(release, order_for(subject, "")))
        await client.flush()


def test_each_step_under_pulls_and_nodes_that_were_away_over_all_of_them(
    rotating: Rotating, gate: Gate, image: PushedImage
) -> None:
    old = signer(rotating)
    away = {name: rotating.join(name) for name in (AWAY, ENDED)}
    with contextlib.ExitStack() as agents:
        for name in away:
            agents.enter_context(rotating.agent(name))
        rotating.cluster.wait_here(*away)
    rotating.cluster.wait_away(*away)
    rotating.end_login(away[ENDED])

    with rotating.pulls(image):
        rotating.step("jobs")
        rotating.wait_behind("jobs", BY_HAND)
        assert len(rotating.kind("jobs")["keys"]) == 2
        assert "1 of 2 nodes that are here do not know these yet: by-hand" in " ".join(
            rotating.towline("trust", "status").stdout.split()
        )
        for flags in ((), ("--retire",)):
            refused = failed(rotating.towline("trust", "rotate", "jobs", *flags))
            assert "1 of 2 nodes that are here do not know the keys of jobs yet" in refused
            assert "nothing is changed: by-hand." in refused
        copy_by_hand(rotating)
        rotating.wait_behind("jobs")
        kept = {
            name: rotating.cluster.pull(name, image.reference, prefer="respond-async").json()
            for name in away
        }
        rotating.step("jobs")
        assert signer(rotating).kid != old.kid
        rotating.wait_behind("jobs")
        rotating.step("jobs", "--retire")
        # It believes the key that signs, and one that none signs with any more.
        rotating.wait_behind("jobs", BY_HAND)
        copy_by_hand(rotating)
        rotating.wait_behind("jobs")

    new = signer(rotating)
    assert (new.public, new.retired) == ([*new.public], old.public)
    assert rotating.kind("jobs")["keys"] == rotating.kind("jobs", 1)["keys"] == [new.kid]

    with contextlib.ExitStack() as agents:
        processes = {name: agents.enter_context(rotating.agent(name)) for name in away}
        for name in away:
            assert rotating.cluster.ended(kept[name]["job_id"])["status"] == "completed"
            assert away[name].read_login().exp - time.time() > 29 * DAY
        processes[AWAY].wait_for(lambda: "cut off" in processes[AWAY].stderr)
        processes[ENDED].wait_for(lambda: "login has ended" in processes[ENDED].stderr)
        rotating.wait_behind("jobs")

    machine = rotating.cluster.node(INVITED)["machine_id"]  # type: ignore[index]
    asyncio.run(send(rotating, machine, old, "by-the-old-key"))
    wait_until(
        lambda: old.kid in rotating.cluster.node(INVITED).get("refusal", ""),  # type: ignore[union-attr]
        what="a message that is refused",
    )
    asyncio.run(send(rotating, machine, new, "by-the-new-key"))
    wait_until(lambda: gate.passed("by-the-new-key", INVITED) == 1, what="a task that is run")
    assert gate.begun("by-the-old-key", INVITED) == 0

    audit = rotating.towline("audit", "verify")
    assert audit.status == 0, audit
    assert audit.stdout.startswith("intact")
