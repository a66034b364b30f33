"""What a node can do with its own login at a broker, in protocol written by hand over TLS."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.testing.nats_protocol import Raw, refusals
from tests.testing.own_broker import OwnBroker
from towline.trust.keys import NODES_LOGIN

OWN_PUBLISHES = [
    *("report.m", "report.m.again", "beat.m"),
    *("progress.m.0123", "progress.m.job", "ask.m.register", "ask.m.task", "ask.m.cooldown"),
    *("answer.0123.m", "answer.other.m"),
]
OWN_SUBSCRIPTIONS = [
    *("task.m.0123", "task.m.*", "task._all", "_INBOX.m.1", "_INBOX.m.a.b", "_INBOX.m.*"),
    # A server takes what stands for one token there for any: still below the node's own.
    *("_INBOX.m.>", "_INBOX.m.*.1", "task.m.>"),
]

OTHERS = [
    f"{subject}"
    for other in ("n", "M", "mm", "m1", "_all", "*", ">", "m*", "$m", "{{name()}}", "controllers")
    for subject in (
        *(f"report.{other}", f"report.{other}.again", f"beat.{other}", f"progress.{other}.job"),
        *(f"ask.{other}.task", f"answer.one.{other}"),
    )
]
"""What is other nodes' to say, or that of a name that looks like the node's."""
NEAR = [
    *("report", "report.m.other", "report.m.again.again", "beat", "beat.m.m", "progress.m"),
    *("progress.m.job.more", "ask.m", "ask.m.task.more", "answer.m", "answer.one", "answer.a.b.m"),
    *("reports.m", "Report.m", "BEAT.m", "m.report", "m", "task.m", "task.m.0123", "task._all"),
    *("task.n.0123", "_INBOX.m.1", "_INBOX.n.1", "_INBOX.1", "_INBOX_m.1", "elsewhere", "*", ">"),
]
"""What is close to the node's own."""
SERVER = [
    *("$JS.API.INFO", "$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.DELETE.CHANGES"),
    *("$JS.API.STREAM.PURGE.CHANGES", "$JS.API.STREAM.MSG.GET.CHANGES", "$JS.API.STREAM.NAMES"),
    *("$JS.API.CONSUMER.CREATE.CHANGES", "$JS.API.CONSUMER.MSG.NEXT.CHANGES.c", "$JS.API.META.X"),
    *("$JS.API.ACCOUNT.PURGE.X", "$JS.API.SERVER.REMOVE", "$JS.ACK.CHANGES.c.1.1.1.1.1"),
    *("$JS.FC.CHANGES.c.1", "$JS.EVENT.ADVISORY.API", "$JS.SNAPSHOT.RESTORE.X.1", "$JSC.R.1"),
    *("$KV.nodes.m", "$KV.credentials.x", "$KV.leases.x", "$O.X.C.y", "$NRG.V.x", "$MQTT.sub.1"),
    *("$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.CLAIMS.LIST"),
    *("$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.USER.INFO"),
    *("$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.ACCOUNT.X.CONNECT", "$SYS.DEBUG.SUBSCRIBERS"),
    *("$GR.x.y", "$G.x", "$LDS.x", "_R_.x.y", "_GR_.x.y", "$NATS.x"),
]
"""What is the server's and the journal's."""
DENIED_PUBLISHES = [*OTHERS, *NEAR, *SERVER, "job.0123", "decision.0123", "read", "event.m.x"]

DENIED_SUBSCRIPTIONS = [
    *(">", "*", "*.>", "*.*", "*.*.*", "*.m", "*.m.*", "*.m.>", "task.>", "task.*", "task.*.*"),
    *(
        "task.m",
        "task.m.*.*",
        "task.m.a.b",
        "task.m.a.>",
        "task.n.0123",
        "task.n.*",
        "task.*.0123",
        "task.n.>",
    ),
    *("task._all.*", "task._all.>", "task._al", "TASK._ALL", "*._all", "task.M.*", "task"),
    *("report.m", "report.n", "report.*", "report.*.again", "report.>", "report.m.again"),
    *("beat.m", "beat.n", "beat.*", "beat.>", "progress.m.*", "progress.*.*", "progress.>"),
    *("ask.m.*", "ask.*.*", "ask.>", "answer.*.m", "answer.*.*", "answer.one.m", "answer.>"),
    *("_INBOX.>", "_INBOX.*", "_INBOX.*.*", "_INBOX.*.>", "_INBOX.n.1", "_INBOX.n.>", "_INBOX"),
    *("_INBOX.m", "_INBOX_m.>", "_INBOX_n.>", "_INBOX.M.>", "*.m.1", "_INBOX.mm.>"),
    *("$JS.>", "$JS.API.>", "$JS.API.INFO", "$JS.EVENT.>", "$JS.ACK.>", "$JS.FC.>", "$JSC.>"),
    *("$SYS.>", "$SYS.REQ.>", "$SYS.REQ.USER.INFO", "$SYS.ACCOUNT.>", "$SYS.SERVER.>", "$SYS.*"),
    *("$KV.>", "$KV.nodes.>", "$KV.nodes.*", "$O.>", "$NRG.>", "$MQTT.>", "$GR.>", "$G.>", "$>"),
    *("_R_.>", "_GR_.>", "$LDS.>", "job.*", "job.>", "decision.>", "read", "event.>", "elsewhere"),
]
QUEUES = ["controllers", "m", "*", ">"]
NODE, OTHER = "m", "n"
HEADERS = [
    ["Nats-Rollup: all"],
    *(["Status: 409"], ["Status: 503"], ["Status: 100"]),
    ["Nats-Expected-Last-Sequence: 0"],
    *(
        ["Nats-Msg-Id: x"],
        ["Nats-TTL: 1"],
        ["Nats-Trace-Dest: task.n.0123"],
        ["Nats-Trace-Only: 1"],
    ),
]


@pytest.fixture
async def node(broker: OwnBroker) -> AsyncIterator[Raw]:
    """A node's own connection."""
    async with broker.raw(broker.trust.node_login(NODE)) as raw:
        yield raw


@pytest.fixture
async def controller(broker: OwnBroker) -> AsyncIterator[Raw]:
    """A controller among the nodes, which sees all that comes through."""
    async with broker.raw(broker.trust.read(NODES_LOGIN)) as raw:
        raw.send("SUB > 1")
        await raw.settle()
        yield raw


def test_there_are_enough_of_them() -> None:
    assert len(set(DENIED_PUBLISHES)) >= 100
    assert len(set(DENIED_SUBSCRIPTIONS)) * (1 + len(QUEUES)) >= 400


async def seen_of(controller: Raw) -> list[str]:
    """Return the subjects of all that has reached a controller."""
    await asyncio.sleep(0.05)
    return [
        line.split()[1] for line in await controller.settle() if line.startswith(("MSG", "HMSG"))
    ]


async def test_a_node_publishes_on_its_own_subjects(node: Raw, controller: Raw) -> None:
    for subject in OWN_PUBLISHES:
        node.publish(subject, b"x")
    assert await node.settle() == []
    assert await seen_of(controller) == OWN_PUBLISHES


async def test_a_node_publishes_on_no_other_subject(node: Raw, controller: Raw) -> None:
    denied = list(dict.fromkeys(DENIED_PUBLISHES))
    for subject in denied:
        node.publish(subject, b"x")
        assert len(refusals(await node.settle())) == 1, subject
    assert await seen_of(controller) == []


async def test_no_header_and_no_reply_opens_another_subject(node: Raw, controller: Raw) -> None:
    denied = ["task.n.0123", "task._all", "$JS.API.INFO", "$SYS.REQ.USER.INFO", "report.n"]
    for subject in denied:
        for headers in HEADERS:
            node.publish_with(headers, subject, reply="_INBOX.m.1")
            assert len(refusals(await node.settle())) == 1, (subject, headers)
        node.publish(subject, reply="report.m")
        assert len(refusals(await node.settle())) == 1, subject
    assert await seen_of(controller) == []


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


async def test_a_node_receives_on_its_own_subjects(node: Raw, controller: Raw) -> None:
    for number, subject in enumerate(OWN_SUBSCRIPTIONS):
        node.send(f"SUB {subject} {number}")
    node.send("SUB task.m.* queue 99")
    assert await node.settle() == []
    for subject in ("task.m.0123", "task._all", "_INBOX.m.1"):
        controller.publish(subject, b"x")
    await controller.settle()
    await asyncio.sleep(0.05)
    received = [line.split()[1] for line in await node.settle() if line.startswith("MSG")]
    assert set(received) == {"task.m.0123", "task._all", "_INBOX.m.1"}


async def test_a_node_receives_nothing_else(node: Raw, controller: Raw) -> None:
    denied = list(dict.fromkeys(DENIED_SUBSCRIPTIONS))
    for number, subject in enumerate(denied, 100):
        for queue in ("", *QUEUES):
            node.send(f"SUB {subject} {queue} {number}")
            assert len(refusals(await node.settle())) == 1, (subject, queue)
    for subject in ("task.n.0123", "report.n", "beat.n", "_INBOX.n.1", "ask.n.x", "answer.one.n"):
        controller.publish(subject, b"secret")
    await controller.settle()
    await asyncio.sleep(0.2)
    assert await node.settle() == []


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
