"""Who may do what at the embedded broker, on a real nats-server."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
from nats.aio.msg import Msg

from tests.testing.nats_protocol import signature
from towline.broker.client import ServerClient
from towline.broker.settings import Settings
from towline.runtime.embedded_broker import EmbeddedBroker
from towline.trust.claims import token_in
from towline.trust.keys import JOURNAL_LOGIN, Trust, create


class User:
    """A user that is logged in, what it has received, and what it was refused."""

    def __init__(self) -> None:
        # The library's own client has answers to a flush before what was sent earlier.
        self.client = ServerClient(asyncio.Event())
        self.received: list[Msg] = []
        self.errors: list[str] = []

    async def receive(self, message: Msg) -> None:
        self.received.append(message)

    async def refused(self, error: Exception) -> None:
        self.errors.append(str(error).lower())

    async def subscribe(self, subject: str) -> None:
        await self.client.subscribe(subject, cb=self.receive)
        await self.client.flush()

    async def publish(self, subject: str, body: bytes = b"", reply: str = "") -> None:
        """Publish, and wait until the server has passed it on or refused it."""
        await self.client.publish(subject, body, reply=reply)
        await self.client.flush()

    async def settled(self) -> list[str]:
        """Return the subjects of all that the server had for this user until now."""
        await self.client.flush()
        # What came before the answer is in the subscription's queue.
        await asyncio.sleep(0.01)
        return [message.subject for message in self.received]


@contextlib.asynccontextmanager
async def logged_in(settings: Settings) -> AsyncIterator[User]:
    user = User()
    await user.client.connect(
        settings.urls[0],
        user_credentials=str(settings.credentials),
        allow_reconnect=False,
        error_cb=user.refused,
    )
    try:
        yield user
    finally:
        await user.client.close()


@pytest.fixture
async def broker(tmp_path: Path, trust: Trust) -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker(tmp_path / "broker", trust, "m") as broker:
        yield broker


@pytest.fixture
async def journal(broker: EmbeddedBroker) -> AsyncIterator[User]:
    async with logged_in(broker.settings) as user:
        yield user


@pytest.fixture
async def nodes(broker: EmbeddedBroker) -> AsyncIterator[User]:
    """A controller in the nodes' account."""
    async with logged_in(broker.nodes_settings) as user:
        yield user


@pytest.fixture
async def agent(broker: EmbeddedBroker) -> AsyncIterator[User]:
    async with logged_in(broker.agent_settings) as user:
        yield user


async def test_an_agent_may_publish_what_it_has_to_say(nodes: User, agent: User) -> None:
    subjects = ["report.m", "report.m.again", "beat.m", "progress.m.job", "ask.m.task"]
    subjects += ["inventory.m", "answer.one.m", "answer.two.m"]
    await nodes.subscribe(">")
    for subject in subjects:
        await agent.publish(subject)
    assert await nodes.settled() == subjects
    assert not agent.errors


@pytest.mark.parametrize(
    "subject",
    [
        *("$JS.API.INFO", "$JS.API.STREAM.CREATE.X", "$JS.ACK.X.Y.1.1.1.1.1", "$KV.nodes.m"),
        *("job.all", "event.m.job.ended", "$SYS.REQ.USER.INFO", "_INBOX.another.1", "elsewhere"),
        *("task.m.start", "task._all", "report", "report.m.other", "report.m.again.x"),
        *("beat.m.x", "beat", "progress.m", "progress.m.job.x", "ask.m", "ask.m.x.y"),
        *("inventory.n", "inventory.m.x", "inventory"),
        *("report.n", "report.n.again", "beat.n", "progress.n.job", "ask.n.task", "answer.one.n"),
        *("answer.m", "answer.one", "answer.one.two.m", "_INBOX.m.1"),
    ],
)
async def test_an_agent_may_publish_nothing_else(nodes: User, agent: User, subject: str) -> None:
    await nodes.subscribe(">")
    await agent.publish(subject)
    assert await nodes.settled() == []
    (error,) = agent.errors
    assert f'permissions violation for publish to "{subject.lower()}"' in error


async def test_an_agent_receives_what_is_sent_to_nodes_and_answers_to_itself(
    nodes: User, agent: User
) -> None:
    subjects = ["task.m.start", "task._all", "_INBOX.m.1"]
    for subject in subjects:
        await agent.subscribe(subject)
    for subject in subjects:
        await nodes.publish(subject)
    assert await agent.settled() == subjects
    assert not agent.errors


@pytest.mark.parametrize(
    "subject",
    [
        *(">", "*.>", "*.m", "*.m.start", "task.>", "task.*", "task.m.start.x", "task"),
        *("report.*", "report.m.again", "beat.*", "beat.m", "progress.*.*", "ask.*.*"),
        *("inventory.*", "inventory.m"),
        *("$JS.>", "$SYS.>", "$KV.>", "job.>", "event.>", "elsewhere", "_INBOX"),
        *("task.n.start", "task.n.*", "task.*.*", "_INBOX.>", "_INBOX.n.1", "_INBOX.*.1"),
    ],
)
async def test_an_agent_receives_nothing_else(nodes: User, agent: User, subject: str) -> None:
    await agent.subscribe(subject)
    (error,) = agent.errors
    assert f'permissions violation for subscription to "{subject.lower()}"' in error
    for each in ("report.m", "report.m.again", "beat.m", "job.all", "elsewhere", "task.m.start"):
        await nodes.publish(each)
    assert await agent.settled() == []


async def test_what_a_message_names_as_its_reply_opens_no_subject(nodes: User, agent: User) -> None:
    await nodes.subscribe("answers.>")
    await agent.subscribe("task.m.*")
    await nodes.publish("task.m.start", reply="answers.1")
    assert await agent.settled() == ["task.m.start"]
    await agent.publish("answers.1")
    assert await nodes.settled() == []
    assert len(agent.errors) == 1


async def test_an_agent_answers_thousands_of_reads_on_one_subject(nodes: User, agent: User) -> None:
    await nodes.subscribe("answer.one.*")
    for _ in range(1500):
        await agent.publish("answer.one.m")
    assert await nodes.settled() == ["answer.one.m"] * 1500
    assert not agent.errors


async def test_no_message_passes_between_the_accounts(
    journal: User, nodes: User, agent: User
) -> None:
    await journal.subscribe(">")
    await nodes.subscribe(">")
    await agent.publish("beat.m")
    for subject in ("job.all", "$KV.nodes.m", "$JS.ACK.X.Y.1.1.1.1.1"):
        await nodes.publish(subject)
    await journal.publish("task.m.start")
    assert await journal.settled() == ["task.m.start"]
    assert await nodes.settled() == ["beat.m", "job.all", "$KV.nodes.m", "$JS.ACK.X.Y.1.1.1.1.1"]
    assert not [*journal.errors, *nodes.errors, *agent.errors]


async def test_nothing_that_is_said_among_nodes_is_stored_by_a_stream_of_the_journal_s(
    journal: User, nodes: User, agent: User
) -> None:
    streams = journal.client.jetstream()
    await streams.add_stream(name="ALL", subjects=["report.*", "job.>"])
    await agent.publish("report.m")
    await nodes.publish("job.all")
    assert (await streams.stream_info("ALL")).state.messages == 0
    assert (await streams.publish("job.all")).seq == 1


async def test_jetstream_answers_in_the_journal_s_account_alone(journal: User, nodes: User) -> None:
    answer = json.loads((await journal.client.request("$JS.API.INFO", timeout=10)).data)
    assert answer["streams"] == 0
    with contextlib.suppress(nats.errors.NoRespondersError):
        answer = json.loads((await nodes.client.request("$JS.API.INFO", timeout=10)).data)
        assert answer["error"]["code"] == 503


async def test_logins_are_kept_over_a_restart_but_the_agent_s_which_is_made_anew(
    tmp_path: Path, trust: Trust
) -> None:
    found: list[list[str]] = []
    for _ in range(2):
        async with EmbeddedBroker(tmp_path, trust, "m") as broker:
            every = (broker.settings, broker.nodes_settings, broker.agent_settings)
            found.append([])
            for settings in every:
                assert settings.credentials is not None
                assert settings.credentials.stat().st_mode & 0o777 == 0o600
                async with logged_in(settings) as user:
                    assert user.client.is_connected
                found[-1].append(settings.credentials.read_text())
    assert found[0][:2] == found[1][:2]
    assert len({*found[0], *found[1]}) == 4


async def test_nobody_gets_in_without_a_login_or_with_another_fleet_s(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    foreign = create(tmp_path)
    (tmp_path / "node.creds").write_text(foreign.node_login("m"))
    logins: list[dict[str, Any]] = [
        {},
        {"user": "towline", "password": "towline"},
        {"user_credentials": str(foreign.path(JOURNAL_LOGIN))},
        {"user_credentials": str(tmp_path / "node.creds")},
    ]
    for login in logins:
        with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
            await nats.connect(broker.settings.urls[0], allow_reconnect=False, **login)


async def test_a_client_may_take_longer_to_log_in_than_the_server_s_default_of_two_seconds(
    broker: EmbeddedBroker,
) -> None:
    assert broker.agent_settings.credentials is not None
    text = broker.agent_settings.credentials.read_text()
    port = int(broker.settings.urls[0].rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    nonce = json.loads((await reader.readline()).removeprefix(b"INFO "))["nonce"]
    await asyncio.sleep(3)
    login = {"jwt": token_in(text), "sig": signature(text, nonce), "verbose": False}
    writer.write(f"CONNECT {json.dumps(login)}\r\nPING\r\n".encode())
    assert await reader.readline() == b"PONG\r\n"
    writer.close()
