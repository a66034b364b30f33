"""One whole message of each kind, with every field given, and what makes it hostile."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from towline.wire import messages
from towline.wire.cooldown import Cooldown
from towline.wire.credential import Supply
from towline.wire.decoding import Unreadable
from towline.wire.event import COMPLETED, LED, NOBODY, RELEASED, STEP, Event, Lead, NamedNode
from towline.wire.facts import Facts, Interface, Route
from towline.wire.fields import LONGEST_TEXT
from towline.wire.inventory import ImageHeld, Inventory
from towline.wire.job import Job, PlannedNode, new_id
from towline.wire.joining import Renewal
from towline.wire.messages import Answered
from towline.wire.node import Condition, Conditions, Heartbeat, Registration, pack
from towline.wire.progress import Part, TaskProgress
from towline.wire.release import BeatNow, Cancellation, Order, Recount, Refresh, Release
from towline.wire.report import Answer, CooldownQuestion, Receipt, TaskQuestion
from towline.wire.rollout import Waves

MACHINE, OTHER = "machine-1", "machine-2"
NOW = float(int(time.time()))
JOB_ID, EARLIER = new_id(), new_id()
START, BEFORE = "0123456789abcdef", "fedcba9876543210"

LEAD = Lead("sha256:00", "web-01", NOW)
COOLDOWN = Cooldown("registry.example:5000", NOW, NOW + 1, NOW + 2, 3, "web-01", "too many")
JOB = Job(
    id=JOB_ID,
    operation="test.thing",
    parameters={"name": "x", "list": [1, 2.5, None, True, {"a": "b"}]},
    target="_all",
    caller="ann",
    created=NOW,
    expires=NOW + 60,
    effect="converge",
    plan=[PlannedNode(MACHINE, "web-01", "skipped", "drained")],
    trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    retries=EARLIER,
    waves=Waves("1", "1", "0"),
    credential=True,
    nodes=2,
    leads=True,
    lead=LEAD,
    requires="docker",
)
RELEASE = Release(
    id=JOB_ID,
    machine=MACHINE,
    time=NOW,
    expires=NOW + 60,
    job=JOB,
    leave=True,
    leads=True,
    lead=LEAD,
    supply=Supply("c2VhbGVk", "no key", again=True),
    cooldown=COOLDOWN,
    needs=["something"],
)
END = Event(
    job=JOB_ID,
    machine=MACHINE,
    hostname="web-01",
    kind=COMPLETED,
    time=NOW + 1,
    started=NOW,
    data={"load": [0.5, 1], "more": {"a": None}},
    error="a sentence\nand\tanother",
    code=404,
    until=NOW + 9,
    canary=True,
    leads=True,
    step="queued",
    waits="max_pulls",
)
FOUND = Event(JOB_ID, MACHINE, "web-01", LED, NOW, data={"value": "sha256:00", "hostname": "a"})
DECISION = msgspec.structs.replace(
    END,
    machine=NOBODY,
    kind=RELEASED,
    nodes=[NamedNode(MACHINE, "web-01", "its turn", "skipped")],
)
REGISTRATION = Registration(
    machine=MACHINE,
    hostname="web-01",
    version="1",
    started=NOW,
    registered=NOW,
    labels={"group": "web.dev"},
    booted=NOW - 9,
    public_key="a2V5",
    start=START,
    after=BEFORE,
    facts=Facts(
        architecture="x86_64",
        kernel="6.1",
        cpu_count=2,
        distribution="Debian",
        os_version="12",
        fqdn="web-01.example.org",
        service_manager="systemd",
        package_manager="apt",
        containerized=True,
        interfaces=[
            Interface("eth0", "192.0.2.1", "2001:db8::1", "02:00:00:00:00:01", "dual"),
        ],
        primary_interface="eth0",
        routes=[Route("0.0.0.0", "192.0.2.254", "eth0", "0.0.0.0", 1, "UG")],
        custom={"rack": "r1", "site": {"floors": [1, None]}},
    ),
    trusts="aa.bb.cc",
)
CONDITION = Condition(NOW, True, "much is in use")
HEARTBEAT = Heartbeat(
    start=START,
    interval=5.0,
    after=BEFORE,
    capabilities={"docker": "not just now"},
    running=1,
    tasks=pack([JOB_ID]),
    more=True,
    leaving=True,
    load=(0.1, 0.2, 0.3),
    memory=(3, 2, 1),
    conditions=Conditions(CONDITION, CONDITION, CONDITION),
    refused=1,
    refusal="it is signed with another key",
    inventory="00ff",
)
_IMAGE = ImageHeld(
    id="sha256:00",
    digests=["docker.io/library/a@sha256:" + "0" * 64],
    names=["docker.io/library/a:1"],
    platform="linux/amd64",
    size=1,
    created=NOW,
    used=2,
)
INVENTORY = Inventory(START, "00ff", images=[_IMAGE], part=1, parts=2)
CHANGE = Inventory(START, "00ff", "ff00", images=[_IMAGE], gone=["sha256:01"])
_FIGURES = {"fetched": 1, "size": 2, "unsized": 3, "rate": 4, "left": 5}
PROGRESS = TaskProgress("downloading", "a note", 2, [Part("a", "done", 1, 2, 3)], 6, **_FIGURES)

RENEWAL = Renewal("x.y.z", "certificates", ["ab" * 32])


class Message(msgspec.Struct, frozen=True):
    """A kind of message.

    Attributes:
        read: the function of `messages` that reads it.
        whole: a value with every field given.
        write: encodes a value as whoever sends it does.
    """

    name: str
    read: Callable[[bytes], Any]
    whole: Any
    write: Callable[[Any], bytes] = msgspec.json.encode

    @property
    def tree(self) -> Any:
        """The value as JSON has it."""
        return msgspec.json.decode(self.write(self.whole))


def _order(name: str, whole: Order) -> Message:
    return Message(name, lambda data: messages.order(data, MACHINE), whole)


MESSAGES = [
    _order("release", RELEASE),
    _order("cancellation", Cancellation(JOB_ID, MACHINE, "ann", NOW, NOW, NOW + 60)),
    _order("beat now", BeatNow(NOW, 5.0, 2.0, "aa.bb.cc", 1.0)),
    _order("refresh", Refresh(JOB_ID, MACHINE, NOW)),
    _order("recount", Recount(MACHINE, NOW)),
    Message(
        "receipt",
        lambda data: messages.receipt(data, MACHINE),
        Receipt("stored", NOW, "why", True, True, LEAD),
    ),
    Message(
        "answer",
        lambda data: messages.answer(data, MACHINE),
        Answer(NOW, RELEASE, COOLDOWN, 5.0, "aa.bb.cc", RENEWAL, "why", again=True),
    ),
    Message("report", lambda data: messages.report(f"report.{MACHINE}", data), END),
    Message("led", lambda data: messages.report(f"report.{MACHINE}", data), FOUND),
    Message("heartbeat", lambda data: messages.heartbeat(f"beat.{MACHINE}", data)[1], HEARTBEAT),
    Message(
        "registration",
        lambda data: messages.registration(f"ask.{MACHINE}.register", data),
        REGISTRATION,
    ),
    Message(
        "progress",
        lambda data: messages.progress(f"progress.{MACHINE}.{JOB_ID}", data)[1],
        PROGRESS,
    ),
    Message(
        "inventory",
        lambda data: messages.inventory(f"inventory.{MACHINE}", data)[1],
        INVENTORY,
    ),
    Message(
        "inventory change",
        lambda data: messages.inventory(f"inventory.{MACHINE}", data)[1],
        CHANGE,
    ),
    Message("task question", messages.task_question, TaskQuestion(JOB_ID)),
    Message(
        "cooldown question",
        messages.cooldown_question,
        CooldownQuestion(JOB_ID, "too many", NOW, 60.0),
    ),
    Message("job", messages.job, JOB),
    Message("decision", messages.decision, DECISION),
    Message("group", messages.group, [END, msgspec.structs.replace(END, kind=STEP)]),
    Message("answered", messages.answered, [Answered(JOB, [END])]),
]


# Hostile

NO_JSON = [
    *(b"NaN", b"-NaN", b"nan", b"Infinity", b"-Infinity", b"inf", b"1e999", b"-1e999", b"+1"),
    *(b"9" * 5000, b"-" + b"9" * 5000, b"0" * 5000, b"1" * 5000 + b".5", b"undefined", b"'a'"),
    *(b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\x00"'),
    *(b'"\x00"', b'"\r\n"', b'"a', b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000),
    *(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"[" * 80 + b"]" * 80, b"\xef\xbb\xbf1"),
    *(b'{"a":' * 990 + b"1" + b"}" * 990, b"[" * 990 + b"]" * 990),
]
"""What no place of any message may have in it."""
LONG = "a" * (LONGEST_TEXT + 1)
TEXTS = ["a\0b", "a\r\nb", "\r\nPUB x 0\r\n", "\x1b[2J", "\x7f", "\x85", LONG]
"""What no text may be."""
NUMBERS = [-1, -1.5, 1e308, -1e308, 2**63, -(2**63), 2**64, 10**40]
"""What no number may be."""
KINDS: dict[type, Any] = {bool: True, int: 1, str: "a", list: [{}], dict: {"a": []}}
FREE = {"data", "parameters", "custom"}
"""What is whatever operations, or people, make of it; `data` is any JSON."""


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to each value in a tree of JSON, but for what is free."""
    yield path
    inside: Iterator[Any] = iter(())
    if isinstance(tree, dict):
        inside = iter(tree.items())
    elif isinstance(tree, list):
        inside = iter(enumerate(tree))
    for key, value in inside:
        if key in FREE:
            yield (*path, key)
        else:
            yield from places(value, (*path, key))


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def put(tree: Any, path: tuple[Any, ...], value: Any) -> bytes:
    """Return the bytes of a tree with another value in one place."""
    if not path:
        return msgspec.json.encode(value)
    tree = msgspec.json.decode(msgspec.json.encode(tree))  # a copy, in a tenth of copy's time
    at(tree, path[:-1])[path[-1]] = value
    return msgspec.json.encode(tree)


def hostile(message: Message) -> list[bytes]:
    """Return bytes that are to be read as a message of this kind, and can't be."""
    tree = message.tree
    found = [b"", b"null", b"[]", b"{}", b"1", b"\xff", b"\0", b"\r\n", b"[" * 100_000]
    for path in places(tree):
        known = at(tree, path)
        values: list[Any] = [msgspec.Raw(raw) for raw in NO_JSON if len(raw) < 20]
        values += NUMBERS if isinstance(known, float) else []
        values += TEXTS[:-1] if isinstance(known, str) else []
        found += [put(tree, path, value) for value in values]
    return [body for body in found if not _readable(message, body)]


def _readable(message: Message, body: bytes) -> bool:
    try:
        message.read(body)
    except Unreadable:
        return False
    return True
