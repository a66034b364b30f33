"""What a node can do with its own login at a broker, in protocol written by hand over TLS."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.testing.denied import Node, see_denied
from tests.testing.nats_protocol import Raw
from tests.testing.own_broker import OwnBroker
from towline.trust.keys import NODES_LOGIN

OTHER = "n"
NODE = Node("m", [OTHER])


LINES = [
    *("PUB\treport.n\t1\r\nx", "pub report.n 1\r\nx", "PUB  report.n   1\r\nx"),
    *("PUB report.n -1\r\nx", "PUB report.n 1 1 1\r\nx", "PUB report.n 99999999999\r\n"),
    *("PUB report.m task.n.1 report.n 1\r\nx", "PUB report.m\0 1\r\nx", "PUB report..m 1\r\nx"),
    *("PUB .report.m 1\r\nx", "PUB report.m. 1\r\nx", "PUB", "SUB", "SUB task.n.> 1 2 3"),
    # What would be a second message if the length of the first were not what counts.
    *("PUB report.m 1\r\nxPUB report.n 1\r\nx", "PUB report.m 3\r\nx\r\nPUB report.n 1\r\nx"),
    *("SUB task.n..> 9", "SUB task.n.\0 9", "SUB _INBOX.m.>.x 9", "SUB task.m*.x 9"),
    # What servers say to each other, and to clients.
    *("MSG task.n.1 1 1\r\nx", "HMSG task.n.1 1 12 13\r\nNATS/1.0\r\n\r\nx"),
    *("RMSG NODES task.n.1 1\r\nx", "RMSG $G task.n.1 1\r\nx", "RS+ NODES task.n.>", "RS+ NODES >"),
    *("RS- NODES >", "A+ NODES", "A- NODES", "LMSG task.n.1 1\r\nx", "LS+ task.n.>"),
    "HRMSG NODES task.n.1 12 13\r\nNATS/1.0\r\n\r\nx",
    *('INFO {"server_id": "x", "cluster": "fleet"}', "+OK", "-ERR x", "x" * 5000, "\0" * 10),
]
"""Lines that no client library would send."""
AGAIN = [
    *("{}", '{"verbose": false}', '{"user": "controllers", "pass": "x"}', '{"account": "SYS"}'),
    '{"account": "JOURNAL"}',
]
"""What a client may say of itself a second time."""


@pytest.fixture
async def node(broker: OwnBroker) -> AsyncIterator[Raw]:
    """A node's own connection."""
    async with broker.raw(broker.trust.node_login(NODE.name)) as raw:
        yield raw


@pytest.fixture
async def controller(broker: OwnBroker) -> AsyncIterator[Raw]:
    """A controller among the nodes, which sees all that comes through."""
    async with broker.raw(broker.trust.read(NODES_LOGIN)) as raw:
        raw.send("SUB > 1")
        await raw.settle()
        yield raw


async def seen_of(controller: Raw) -> list[str]:
    """Return the subjects of all that has reached a controller."""
    await asyncio.sleep(0.05)
    return [
        line.split()[1] for line in await controller.settle() if line.startswith(("MSG", "HMSG"))
    ]


async def test_a_node_may_do_what_is_its_own_and_nothing_else(node: Raw, controller: Raw) -> None:
    await see_denied(node, NODE)
    assert set(await seen_of(controller)) == set(NODE.may_publish)


async def test_a_trace_of_a_node_s_message_reaches_nobody_else(
    node: Raw, broker: OwnBroker
) -> None:
    async with broker.raw(broker.trust.node_login(OTHER)) as other:
        other.send("SUB task.n.* 1", "SUB _INBOX.n.> 2")
        await other.settle()
        for destination in ("task.n.0123", "_INBOX.n.1"):
            for more in ([], ["Nats-Trace-Only: true"]):
                node.publish_with([f"Nats-Trace-Dest: {destination}", *more], "beat.m")
        await node.settle()
        await asyncio.sleep(0.2)
        assert await other.settle() == []


async def test_a_reply_subject_that_nobody_answers_on_is_not_used_by_the_server(
    node: Raw, broker: OwnBroker
) -> None:
    """The server itself answers where nobody listens: at the reply that the request names."""
    async with broker.raw(broker.trust.node_login(OTHER)) as other:
        other.send("SUB task.n.* 1", "SUB _INBOX.n.> 2")
        await other.settle()
        for reply in ("task.n.0123", "_INBOX.n.1", "task._all", "$JS.API.STREAM.DELETE.CHANGES"):
            node.publish("beat.m", reply=reply)
        await node.settle()
        await asyncio.sleep(0.2)
        assert await other.settle() == []


async def test_no_line_that_a_node_sends_is_taken_for_another_s(
    controller: Raw, broker: OwnBroker
) -> None:
    async with broker.raw(broker.trust.node_login(OTHER)) as other:
        other.send("SUB task.n.* 1", "SUB _INBOX.n.> 2")
        await other.settle()
        for line in LINES:
            async with broker.raw(broker.trust.node_login(NODE.name)) as raw:
                raw.send(line)
                said = await raw.settle()
                assert all(each.startswith("-ERR ") for each in said), (line, said)
        assert await seen_of(controller) == []
        assert await other.settle() == []


async def test_who_says_anew_who_it_is_may_do_no_more(controller: Raw, broker: OwnBroker) -> None:
    for again in AGAIN:
        async with broker.raw(broker.trust.node_login(NODE.name)) as raw:
            raw.send(f"CONNECT {again}")
            await raw.settle()
            raw.send("SUB > 1", "SUB task.n.> 2", "SUB _INBOX.n.> 3", "SUB $SYS.> 4")
            for subject in ("report.n", "task.n.1", "$JS.API.INFO", "$SYS.REQ.SERVER.PING"):
                raw.publish(subject, b"x", reply="_INBOX.m.1")
            said = await raw.settle()
            controller.publish("task.n.1", b"secret")
            assert await seen_of(controller) == ["task.n.1"]
            said += await raw.settle()
            assert all(each.startswith("-ERR ") for each in said), (again, said)


async def test_a_node_receives_on_its_own_subjects(node: Raw, controller: Raw) -> None:
    for number, subject in enumerate(NODE.may_receive):
        node.send(f"SUB {subject} {number}")
    node.send("SUB task.m.* queue 99")
    assert await node.settle() == []
    for subject in ("task.m.0123", "task._all", "_INBOX.m.1"):
        controller.publish(subject, b"x")
    await controller.settle()
    await asyncio.sleep(0.05)
    received = [line.split()[1] for line in await node.settle() if line.startswith("MSG")]
    assert set(received) == {"task.m.0123", "task._all", "_INBOX.m.1"}


async def test_a_node_sees_of_another_s_what_is_for_all_nodes_and_no_more(
    node: Raw, controller: Raw, broker: OwnBroker
) -> None:
    async with broker.raw(broker.trust.node_login(OTHER)) as other:
        for each, name in ((node, "m"), (other, "n")):
            each.send(f"SUB task.{name}.* 1", "SUB task._all 2", f"SUB _INBOX.{name}.> 3")
            assert await each.settle() == []
        for subject in ("task.m.1", "task._all", "task.n.1", "_INBOX.n.1"):
            controller.publish(subject)
        await controller.settle()
        await asyncio.sleep(0.1)
        found = [line.split()[1] for line in await node.settle() if line.startswith("MSG")]
        assert found == ["task.m.1", "task._all"]


async def test_a_node_s_connection_holds_a_hundred_subscriptions_at_most(node: Raw) -> None:
    for number in range(100):
        node.send(f"SUB _INBOX.m.{number} {number}")
    assert await node.settle() == []
    node.send("SUB _INBOX.m.100 100")
    assert any("maximum subscriptions" in line.lower() for line in await node.settle())


async def test_nobody_in_the_nodes_account_sees_jetstream(controller: Raw) -> None:
    controller.send("SUB answers 2")
    controller.publish("$JS.API.INFO", reply="answers")
    controller.publish("$JS.API.STREAM.NAMES", reply="answers")
    await asyncio.sleep(0.2)
    found = await controller.settle()
    assert not [line for line in found if '"streams"' in line and '"error"' not in line]
    assert [line for line in found if "not enabled for account" in line]
