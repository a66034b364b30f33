"""The same with nothing but a node's own login, over TLS: as whoever has taken a node has it."""

import itertools

import msgspec

from tests.parts.hostile.conftest import ALLOWED_LINES, OwnSystem, here, until
from tests.parts.hostile.test_nodes_account import BODIES, HEADERS, INBOX, REPLIES, counted
from tests.testing.messages import END, FOUND, MACHINE, OTHER
from tests.testing.signing import opened
from towline.wire.event import RESULT_STATUS, STARTED, STEP
from towline.wire.subjects import inbox_prefix

MANY = 3000
OWN = {subject: bodies for subject, bodies in BODIES.items() if f".{MACHINE}" in subject}
"""What the broker takes of the node; of the rest it takes nothing."""


async def test_whatever_a_node_says_is_counted_and_nothing_ends_by_it(
    own_system: OwnSystem,
) -> None:
    system = own_system
    async with system.controller() as controller, system.agent():
        await here(controller)
        member = controller.fleet.get(MACHINE)
        assert member is not None
        before = member.registration
        begun, sent, lines = counted(controller), 0, len(system.logs)
        headers = itertools.cycle(HEADERS)
        async with system.client(system.logins.agents) as client:
            while sent < MANY:
                for subject, bodies in BODIES.items():
                    for body in bodies:
                        await client.publish(subject, body, reply=INBOX, headers=next(headers))
                        sent += subject in OWN
            known = msgspec.json.encode(before)
            for subject in (f"report.{MACHINE}", f"ask.{MACHINE}.register", f"ask.{MACHINE}.task"):
                body = msgspec.json.encode({"job": END.job}) if subject.endswith("task") else known
                for reply in REPLIES:
                    await client.publish(subject, body, reply=reply)
                    sent += 1
            await client.flush(60)
            await until(lambda: counted(controller) - begun >= sent, f"{sent} to be counted")
        # Of too many in its name the agent's own may be some.
        assert counted(controller) - begun - sent < 10
        assert len(system.logs) - lines < ALLOWED_LINES
        assert system.work.ran == []
        assert controller.index.query("SELECT count(*) FROM event").fetchone() == (0,)
        now = controller.fleet.get(MACHINE)
        assert now is not None
        assert now.registration == before
        await system.works(controller)


async def test_a_node_says_nothing_that_counts_of_another_s_task_and_is_answered_nothing_of_it(
    own_system: OwnSystem,
) -> None:
    system = own_system
    system.work.free.clear()
    kinds = [STARTED, STEP, *RESULT_STATUS]
    async with (
        system.controller() as controller,
        system.agent(),
        system.client(system.other) as client,
    ):
        await here(controller)
        job = (await system.do(controller, wait=0.0)).job.id
        await until(lambda: system.work.ran, "the task to be begun")
        inbox = await client.subscribe(f"{inbox_prefix(OTHER)}.>")
        await client.flush()
        begun = counted(controller)
        said = [msgspec.structs.replace(END, job=job, kind=kind) for kind in kinds]
        said.append(msgspec.structs.replace(FOUND, job=job))
        for event in said:
            own = msgspec.json.encode(msgspec.structs.replace(event, machine=OTHER))
            for again in ("", ".again"):
                # In its own name, and in that of the node whose task it is.
                reply = f"{inbox_prefix(OTHER)}.1"
                await client.publish(f"report.{OTHER}{again}", own, reply=reply)
                body = msgspec.json.encode(event)
                await client.publish(f"report.{MACHINE}{again}", body, reply=reply)
        for _ in range(2 * len(said)):
            receipt = msgspec.json.decode(opened((await inbox.next_msg(timeout=60)).data))
            assert (receipt["status"], receipt.get("leave", False)) == ("refused", False)
            assert "lead" not in receipt
        question = msgspec.json.encode({"job": job})
        for machine in (OTHER, MACHINE):
            reply = f"{inbox_prefix(OTHER)}.2"
            await client.publish(f"ask.{machine}.task", question, reply=reply)
        answer = msgspec.json.decode(opened((await inbox.next_msg(timeout=60)).data))
        assert "is not for this node" in answer["error"]
        assert answer.keys() <= {"time", "error"}
        await client.flush()
        assert inbox.pending_msgs == 0
        assert counted(controller) == begun
        found = controller.open.get(job)
        assert found is not None
        assert (found.unfinished, found.lead) == ({MACHINE}, None)
        system.work.free.set()
        await until(lambda: controller.open.get(job) is None, "the end of the job")
        ended = controller.index.find(job)
        assert ended is not None
        assert {task.status for task in ended[0].tasks.values()} == {"ok"}
        assert {event.hostname for event in ended[1] if event.machine != "_"} == {"web-01"}
        await system.works(controller)
