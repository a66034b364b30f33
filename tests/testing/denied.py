"""What no node may publish or receive with its own login, tried in protocol written by hand."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.testing.nats_protocol import Raw, refusals

NAMES = ("_all", "*", ">", "m*", "$m", "{{name()}}", "controllers")
"""What stands where a node's name would, and is none."""
SERVER = [
    *("$JS.API.INFO", "$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.DELETE.CHANGES"),
    *("$JS.API.STREAM.PURGE.CHANGES", "$JS.API.STREAM.MSG.GET.CHANGES", "$JS.API.STREAM.NAMES"),
    *("$JS.API.CONSUMER.CREATE.CHANGES", "$JS.API.CONSUMER.MSG.NEXT.CHANGES.c", "$JS.API.META.X"),
    *("$JS.API.ACCOUNT.PURGE.X", "$JS.API.SERVER.REMOVE", "$JS.ACK.CHANGES.c.1.1.1.1.1"),
    *("$JS.FC.CHANGES.c.1", "$JS.EVENT.ADVISORY.API", "$JS.SNAPSHOT.RESTORE.X.1", "$JSC.R.1"),
    *("$KV.nodes.m", "$KV.members.x", "$KV.credentials.x", "$KV.leases.x", "$O.X.C.y"),
    *("$NRG.V.x", "$MQTT.sub.1"),
    *("$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.DELETE", "$SYS.REQ.CLAIMS.LIST"),
    *("$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.USER.INFO"),
    *("$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.ACCOUNT.X.CONNECT", "$SYS.DEBUG.SUBSCRIBERS"),
    *("$GR.x.y", "$G.x", "$LDS.x", "_R_.x.y", "_GR_.x.y", "$NATS.x"),
    *("job.0123", "decision.0123", "read", "event.m.x", "audit", "checkpoint"),
]
"""What is the server's and the journal's."""
QUEUES = ("controllers", "m", "*", ">")
ELSEWHERE = "task.other.0123"
"""Where a node would have the server send what became of a message."""
HEADERS = [
    "Nats-Rollup: all",
    *("Status: 409", "Status: 503", "Status: 100"),
    *("Nats-Expected-Last-Sequence: 0", "Nats-Msg-Id: x", "Nats-TTL: 1"),
    *(f"Nats-Trace-Dest: {ELSEWHERE}", "Nats-Trace-Only: 1"),
]
_REFUSAL = re.compile("""-ERR 'Permissions Violation for (Publish|Subscription) to "([^"]*)\"""")
MARK = b"by a node"
"""The body of all that a node tries to publish."""


@dataclass(frozen=True)
class Node:
    """A node as the broker knows it, and what it may and may not do.

    Attributes:
        name: its machine id, by which its login is for it.
        others: what else nodes are called: other machine ids, hostnames, labels.
    """

    name: str
    others: Sequence[str] = ()

    @property
    def may_publish(self) -> list[str]:
        """Its own subjects."""
        name = self.name
        return [
            *(f"report.{name}", f"report.{name}.again", f"beat.{name}"),
            *(f"progress.{name}.0123", f"progress.{name}.job", f"ask.{name}.register"),
            *(f"ask.{name}.task", f"ask.{name}.cooldown", f"inventory.{name}"),
            *(f"answer.0123.{name}", f"answer.other.{name}"),
        ]

    @property
    def may_receive(self) -> list[str]:
        """Its own subjects, and the one for all nodes."""
        name = self.name
        return [
            *(f"task.{name}.0123", f"task.{name}.*", "task._all"),
            *(f"_INBOX.{name}.1", f"_INBOX.{name}.a.b", f"_INBOX.{name}.*"),
            # A server takes what stands for one token there for any: still below the node's own.
            *(f"_INBOX.{name}.>", f"_INBOX.{name}.*.1", f"task.{name}.>"),
        ]

    @property
    def _not_its_own(self) -> list[str]:
        """Names of other nodes, and names that look like its own."""
        name = self.name
        near = [f"{name}{name}", f"{name}1", name[:-1], name.upper(), name.lower()]
        return [each for each in _once(["n", *near, *self.others]) if each not in (name, "")]

    @property
    def not_published(self) -> list[str]:
        """What is others' to say, what is close to its own, and what is the server's."""
        name = self.name
        theirs = [
            subject
            for other in (*self._not_its_own, *NAMES)
            for subject in (
                *(f"report.{other}", f"report.{other}.again", f"beat.{other}"),
                f"inventory.{other}",
                *(f"progress.{other}.job", f"ask.{other}.task", f"answer.one.{other}"),
            )
        ]
        close = [
            *("report", f"report.{name}.other", f"report.{name}.again.again", "beat"),
            *(f"beat.{name}.{name}", f"progress.{name}", f"progress.{name}.job.more"),
            *(f"inventory.{name}.more", "inventory", f"INVENTORY.{name}"),
            *(f"ask.{name}", f"ask.{name}.task.more", f"answer.{name}", "answer.one"),
            *(f"answer.a.b.{name}", f"reports.{name}", f"Report.{name}", f"BEAT.{name}"),
            *(f"{name}.report", name, f"task.{name}", f"task.{name}.0123", "task._all"),
            *("task.n.0123", f"_INBOX.{name}.1", "_INBOX.n.1", "_INBOX.1", f"_INBOX_{name}.1"),
            *("elsewhere", "*", ">"),
        ]
        return _once([*theirs, *close, *SERVER])

    @property
    def not_received(self) -> list[str]:
        """The same of subscriptions, with wildcards."""
        name = self.name
        theirs = [
            subject
            for other in self._not_its_own
            for subject in (
                *(f"task.{other}.0123", f"task.{other}.*", f"task.{other}.>", f"report.{other}"),
                *(f"beat.{other}", f"_INBOX.{other}.1", f"_INBOX.{other}.>", f"ask.{other}.*"),
            )
        ]
        wide = [
            *(">", "*", "*.>", "*.*", "*.*.*", f"*.{name}", f"*.{name}.*", f"*.{name}.>"),
            *("task.>", "task.*", "task.*.*", f"task.{name}", f"task.{name}.*.*"),
            *(f"task.{name}.a.b", f"task.{name}.a.>", "task.*.0123", "task._all.*", "task._all.>"),
            *("task._al", "TASK._ALL", "*._all", "task"),
            *(f"report.{name}", "report.*", "report.*.again", "report.>", f"report.{name}.again"),
            *(f"beat.{name}", "beat.*", "beat.>", f"progress.{name}.*", "progress.*.*"),
            *(f"inventory.{name}", "inventory.*", "inventory.>"),
            *("progress.>", f"ask.{name}.*", "ask.*.*", "ask.>", f"answer.*.{name}", "answer.*.*"),
            *(f"answer.one.{name}", "answer.>", "_INBOX.>", "_INBOX.*", "_INBOX.*.*"),
            *("_INBOX.*.>", "_INBOX", f"_INBOX.{name}", f"_INBOX_{name}.>", "_INBOX_n.>"),
            f"*.{name}.1",
        ]
        server = [
            *("$JS.>", "$JS.API.>", "$JS.API.INFO", "$JS.EVENT.>", "$JS.ACK.>", "$JS.FC.>"),
            *("$JSC.>", "$SYS.>", "$SYS.REQ.>", "$SYS.REQ.USER.INFO", "$SYS.ACCOUNT.>"),
            *("$SYS.SERVER.>", "$SYS.*", "$KV.>", "$KV.nodes.>", "$KV.nodes.*", "$O.>", "$NRG.>"),
            *("$MQTT.>", "$GR.>", "$G.>", "$>", "_R_.>", "_GR_.>", "$LDS.>", "job.*", "job.>"),
            *("decision.>", "read", "event.>", "elsewhere", "audit", "checkpoint"),
        ]
        return _once([*theirs, *wide, *server])


def _once(subjects: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(subjects))


def _publishes(node: Node) -> Iterator[tuple[str, str]]:
    """Yield what a node may not publish, as lines, and the subject of each."""
    for subject in node.not_published:
        yield f"PUB {subject} {len(MARK)}\r\n{MARK.decode()}", subject
    for subject in ("task.n.0123", "task._all", "$JS.API.INFO", "$SYS.REQ.USER.INFO", "report.n"):
        for header in HEADERS:
            head = f"NATS/1.0\r\n{header}\r\n\r\n"
            sizes = f"{len(head)} {len(head) + len(MARK)}"
            reply = f"_INBOX.{node.name}.1"
            yield (
                f"HPUB {subject} {reply} {sizes}\r\n{head}{MARK.decode()}",
                ELSEWHERE if ELSEWHERE in head else subject,
            )
        for reply in (f"report.{node.name}", f"_INBOX.{node.name}.1", "$JS.API.INFO"):
            yield f"PUB {subject} {reply} {len(MARK)}\r\n{MARK.decode()}", subject


def _subscriptions(node: Node) -> Iterator[tuple[str, str]]:
    """Yield to what a node may not subscribe, alone and in a queue group."""
    number = 1000
    for subject in node.not_received:
        for queue in ("", *QUEUES):
            number += 1
            yield f"SUB {subject} {queue} {number}", subject


async def see_denied(raw: Raw, node: Node) -> None:
    """Try all that a node may not do, and see that the broker refuses each, and no more than that.

    What it may do is tried as well, before and after.

    Parameters: `raw` is a connection with the node's own login.
    """
    await see_allowed(raw, node)
    publishes, subscriptions = [*_publishes(node)], [*_subscriptions(node)]
    assert len(node.not_published) >= 100
    assert len(node.not_received) >= 100
    for what, tried in (("Publish", publishes), ("Subscription", subscriptions)):
        raw.send(*(line for line, _ in tried))
        said = await raw.settle()
        # One refusal for each, in this order, and nothing else: no message came.
        for (line, subject), found in zip(tried, said, strict=False):
            assert _refused(found) == (what, subject), f"{line!r} was answered {found!r}"
        assert len(said) == len(tried), said[len(tried) :]
    await see_allowed(raw, node)


async def see_allowed(raw: Raw, node: Node) -> None:
    """See that a node may do what is its own to do."""
    for subject in node.may_publish:
        raw.publish(subject, b"{}")
    for number, subject in enumerate(node.may_receive):
        raw.send(f"SUB {subject} {number}", f"SUB {subject} q {100 + number}")
    for number in range(len(node.may_receive)):
        raw.send(f"UNSUB {number}", f"UNSUB {100 + number}")
    assert refusals(await raw.settle()) == []


def _refused(line: str) -> tuple[str, str]:
    """Return what a server's line refuses: "Publish" or "Subscription", and the subject."""
    found = _REFUSAL.match(line)
    return (found[1], found[2]) if found else ("", "")
