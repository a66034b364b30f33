"""What an agent is answered by somebody who is no controller: it asks again, and believes none."""

import itertools
import time

import msgspec
from nats.aio.msg import Msg

from tests.parts.hostile.conftest import ALLOWED_LINES, System, here, until
from tests.testing.messages import JOB, MACHINE, MESSAGES, RELEASE, hostile
from tests.testing.signing import SIGNER, sealed, signed
from towline.trust.signing import answer_to
from towline.wire.fields import LATEST
from towline.wire.release import Release
from towline.wire.report import Answer

TASK = msgspec.structs.replace(
    RELEASE,
    # However long the tests before it take.
    expires=LATEST,
    job=msgspec.structs.replace(
        JOB,
        expires=LATEST,
        operation="test.converge",
        parameters={},
        requires="",
        waves=None,
        credential=False,
    ),
    leave=False,
    leads=False,
    supply=None,
    cooldown=None,
    needs=[],
)


def fresh(release: Release) -> Release:
    """Return a release as it is sent now, however long the tests before it took."""
    return msgspec.structs.replace(release, time=time.time())


async def test_an_agent_that_is_answered_nonsense_asks_again_until_a_controller_is_there(
    system: System,
) -> None:
    by_name = {message.name: hostile(message) for message in MESSAGES}
    answers = itertools.cycle([*by_name["answer"], *by_name["receipt"]])
    headers = itertools.cycle(
        [None, {"Status": "100"}, {"Status": "404"}, {"Status": "409"}, {"Nats-Rollup": "all"}]
    )
    asked: list[str] = []
    register = f"ask.{MACHINE}.register"
    async with (
        system.client(system.logins.nodes) as client,
        system.agent() as agent,
    ):

        async def answer(message: Msg) -> None:
            asked.append(message.subject)
            body = next(answers)
            if message.subject == register and asked.count(register) > 3:
                # It reports nothing before somebody has taken it for the node.
                purpose = answer_to(message.subject, message.data, message.reply)
                body = SIGNER.seal(Answer(time.time()), purpose)
            elif len(asked) % 2:
                # As if a controller had gone mad.
                body = signed(body, answer_to(message.subject, message.data, message.reply))
            await client.publish(message.reply, body, headers=next(headers))

        subscriptions = [
            await client.subscribe(subject, cb=answer)
            for subject in ("ask.*.*", "report.*", "report.*.again")
        ]
        await agent._inbox.ready()
        await until(lambda: asked.count(register) > 3, "it to ask again")
        # Whoever has the controllers' login may give it a task; nobody stores how that ended.
        own = f"task.{MACHINE}.{agent._start}"
        await client.publish(own, sealed(fresh(TASK), own))
        await until(lambda: system.work.ran == [TASK.id], "the task to run")
        for about in (f"report.{MACHINE}", f"report.{MACHINE}.again"):
            await until(lambda: asked.count(about) >= 3, f"answers on {about}")  # noqa: B023
        await until(lambda: agent.refused >= 9, "them to be counted")
        assert len(system.logs) < ALLOWED_LINES
        assert [event.job for _, event in agent._ledger.undelivered(10)] == [TASK.id]
        for subscription in subscriptions:
            await subscription.unsubscribe()
        async with system.controller() as controller:
            await here(controller)
            # What it ran was nobody's job: a controller says so, and it is reported no more.
            await until(lambda: not agent._ledger.undelivered(10), "the end to be refused")
            assert system.work.ran == [TASK.id]
            await system.works(controller)
