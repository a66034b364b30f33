"""Every message that reaches a part, hostile: it is unreadable, or a value like any other."""

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.testing.messages import (
    DECISION,
    EARLIER,
    END,
    FOUND,
    HEARTBEAT,
    JOB,
    JOB_ID,
    KINDS,
    LEAD,
    LONG,
    MACHINE,
    MESSAGES,
    NO_JSON,
    NOW,
    NUMBERS,
    OTHER,
    PROGRESS,
    REGISTRATION,
    RELEASE,
    TEXTS,
    Message,
    at,
    places,
    put,
)
from towline.wire import messages
from towline.wire.decoding import DEEPEST, LARGEST, Unreadable
from towline.wire.event import COMPLETED, DECISIONS, LED, Event
from towline.wire.messages import MOST_IN_GROUP, Answered
from towline.wire.node import LONGEST_INTERVAL, MOST_NAMED
from towline.wire.release import BeatNow
from towline.wire.report import LARGEST_REPORT, Answer

every = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)


def read(message: Message, data: bytes) -> Any:
    """Read hostile bytes; None where they are unreadable, and no other exception."""
    try:
        value = message.read(data)
    except Unreadable:
        return None
    assert message.read(message.write(value)) == value
    return value


@every
def test_whole_messages_are_read_and_have_every_field(message: Message) -> None:
    assert read(message, message.write(message.whole)) == message.whole
    missing = {
        f"{type(value).__name__}.{field}"
        for value in _structs(message.whole)
        for field in value.__struct_fields__
        if getattr(value, field) is None
    }
    # An event of a node names no nodes, and what answers one question is not what answers another.
    assert missing <= {"Event.nodes", "Event.until", "Event.error", "Event.started"} | {
        "Event.step",
        "Event.waits",
        "Event.code",
    }


def _structs(value: Any) -> Iterator[Any]:
    if isinstance(value, msgspec.Struct):
        yield value
        for field in value.__struct_fields__:
            yield from _structs(getattr(value, field))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _structs(each)


@every
def test_what_is_no_json_is_unreadable_wherever_it_stands(message: Message) -> None:
    tree = message.tree
    for path in places(tree):
        for raw in NO_JSON:
            data = put(tree, path, msgspec.Raw(raw))
            assert read(message, data) is None, (path, raw[:40])


@every
def test_what_is_of_another_type_is_unreadable_wherever_it_stands(message: Message) -> None:
    tree = message.tree
    for path in places(tree):
        known = at(tree, path)
        for kind, value in KINDS.items() if path[-1:] != ("data",) else ():
            if kind is int and isinstance(known, int | float) and not isinstance(known, bool):
                continue
            if isinstance(known, kind) and (kind is not int or not isinstance(known, bool)):
                continue
            assert read(message, put(tree, path, value)) is None, (path, value)


@every
def test_no_text_has_control_characters_and_no_number_is_out_of_reason(message: Message) -> None:
    tree = message.tree
    for path in places(tree):
        known = at(tree, path)
        if isinstance(known, str):
            hostile: list[Any] = TEXTS
        elif isinstance(known, int | float) and not isinstance(known, bool):
            hostile = NUMBERS
        else:
            hostile = []
        for value in hostile:
            if path[-1:] == ("sealed",) and value == LONG:
                continue
            assert read(message, put(tree, path, value)) is None, (path, value)


@pytest.mark.parametrize("key", TEXTS, ids=lambda key: repr(key[:8]))
def test_no_label_and_no_capability_is_called_so(key: str) -> None:
    labels = changed(REGISTRATION, labels={key: "a"})
    assert_unreadable(messages.registration, f"ask.{MACHINE}.register", labels)
    capabilities = changed(HEARTBEAT, capabilities={key: ""})
    assert_unreadable(messages.heartbeat, f"beat.{MACHINE}", capabilities)


ODD: list[Any] = [
    *(None, "", 0, [], {}, "_", "_all", "a.b", "*", ">", "a b", MACHINE, OTHER, ".."),
]


@every
def test_fields_may_lack_only_where_they_have_a_default(message: Message) -> None:
    tree = message.tree
    for path in places(tree):
        if path and isinstance(at(tree, path[:-1]), dict):
            less = copy.deepcopy(tree)
            del at(less, path[:-1])[path[-1]]
            read(message, msgspec.json.encode(less))
        for value in ODD:
            read(message, put(tree, path, value))


@every
def test_what_is_too_large_is_unreadable(message: Message) -> None:
    whole = message.write(message.whole)
    assert read(message, whole + b" " * LARGEST) is None
    assert read(message, b" " * LARGEST + whole) is None
    assert read(message, b"") is None
    assert read(message, whole[:-1]) is None
    assert read(message, whole + b"x") is None
    assert read(message, whole + whole) is None


SMALL = [
    each
    for each in MESSAGES
    if each.name in {"heartbeat", "registration", "task question", "cooldown question", "receipt"}
]


@pytest.mark.parametrize("message", SMALL, ids=lambda message: message.name)
def test_what_nodes_say_of_themselves_is_small(message: Message) -> None:
    whole = message.write(message.whole)
    assert read(message, whole + b" " * (messages.SMALL - len(whole))) == message.whole
    assert read(message, whole + b" " * (messages.SMALL - len(whole) + 1)) is None


ANY_JSON: list[Any] = [[], [{"a": 1}, {}], ["a"], {}, "", "text", 0, 2.5, True, False]


@pytest.mark.parametrize("data", ANY_JSON, ids=repr)
def test_what_an_operation_returned_is_any_json(data: Any) -> None:
    event = Event(JOB_ID, MACHINE, "web-01", COMPLETED, NOW, data=data)
    body = msgspec.json.encode(event)
    assert messages.report(f"report.{MACHINE}", body) == event
    assert messages.group(b"[" + body + b"]") == [event]
    assert messages.answered(msgspec.json.encode([Answered(None, [event])])) == [
        Answered(None, [event])
    ]


@pytest.mark.parametrize("code", [0, 399, 600, 404.5, "404", True])
def test_the_code_of_a_failure_is_that_of_an_http_error(code: Any) -> None:
    assert_unreadable(messages.report, f"report.{MACHINE}", changed(END, code=code))


MOMENTS = {"time", "created", "expires", "started", "registered", "booted", "until", "since"}


@every
def test_moments_are_within_reason(message: Message) -> None:
    tree = message.tree
    for path in places(tree):
        if path and path[-1] in MOMENTS | {"over", "known"}:
            for value in (0, 1, 946_684_799, 7_258_118_401, 1e13, 1e15, int(1e13)):
                assert read(message, put(tree, path, value)) is None, (path, value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from([MACHINE, OTHER, JOB_ID, "_", "_any", LED, "release", NOW]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@every
@settings(max_examples=40)
@given(data=st.data())
def test_any_json_is_unreadable_or_a_value_that_reads_as_itself(
    message: Message, data: st.DataObject
) -> None:
    read(message, msgspec.json.encode(data.draw(json_values)))


@every
@settings(max_examples=40)
@given(data=st.data())
def test_mutated_messages_are_unreadable_or_values_that_read_as_themselves(
    message: Message, data: st.DataObject
) -> None:
    tree = message.tree
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(tree))))
        tree = msgspec.json.decode(put(tree, path, data.draw(json_values)))
    read(message, msgspec.json.encode(tree))


@every
@settings(max_examples=40)
@given(data=st.data())
def test_bytes_that_were_changed_raise_nothing_else(message: Message, data: st.DataObject) -> None:
    changed = bytearray(message.write(message.whole))
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(changed)))
        end = data.draw(st.integers(begin, min(len(changed), begin + 8)))
        changed[begin:end] = data.draw(st.binary(max_size=8))
    read(message, bytes(changed))


# What only the subject, or two fields together, know


def changed(whole: Any, **fields: Any) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(whole, **fields))


def assert_unreadable(read: Any, *arguments: Any) -> None:
    with pytest.raises(Unreadable):
        read(*arguments)


def test_a_node_takes_only_what_is_for_it_and_of_one_job() -> None:
    assert messages.order(changed(RELEASE), MACHINE) == RELEASE
    assert_unreadable(messages.order, changed(RELEASE), OTHER)
    assert_unreadable(messages.order, changed(RELEASE, id=EARLIER), MACHINE)
    answer = Answer(NOW, RELEASE)
    assert messages.answer(changed(answer), MACHINE) == answer
    assert_unreadable(messages.answer, changed(answer), OTHER)
    for order in MESSAGES[1:5]:
        if isinstance(order.whole, BeatNow):
            assert messages.order(changed(order.whole), OTHER) == order.whole
        else:
            assert_unreadable(messages.order, changed(order.whole), OTHER)


@pytest.mark.parametrize("kind", ["", "shutdown", "Release", "release ", None, 1, ["release"]])
def test_an_order_of_an_unknown_kind_is_unreadable(kind: Any) -> None:
    tree = MESSAGES[0].tree
    assert_unreadable(messages.order, put(tree, ("kind",), kind), MACHINE)


@pytest.mark.parametrize(
    "subject", [f"report.{OTHER}", "report", "report.", "report._", "", "report.a b"]
)
def test_the_machine_is_the_subject_s_not_the_body_s(subject: str) -> None:
    for whole in (END, FOUND):
        assert_unreadable(messages.report, subject, msgspec.json.encode(whole))
    assert_unreadable(messages.registration, subject, msgspec.json.encode(REGISTRATION))


def test_whose_heartbeat_and_progress_it_is_says_the_subject() -> None:
    assert messages.heartbeat(f"beat.{OTHER}", msgspec.json.encode(HEARTBEAT))[0] == OTHER
    body = msgspec.json.encode(PROGRESS)
    assert messages.progress(f"progress.{OTHER}.{JOB_ID}", body)[0] == OTHER
    for machine in ("_", "_all", "", "a b", "a\0", "\udc80", "x" * 65, "-a", "a*", ">", "é"):
        assert_unreadable(messages.heartbeat, f"beat.{machine}", msgspec.json.encode(HEARTBEAT))
        assert_unreadable(messages.progress, f"progress.{machine}.{JOB_ID}", body)


@pytest.mark.parametrize("kind", sorted(DECISIONS - {LED}))
def test_nodes_make_no_decisions(kind: str) -> None:
    assert_unreadable(messages.report, f"report.{MACHINE}", changed(END, kind=kind))
    assert_unreadable(messages.report, "report._", changed(END, kind=kind, machine="_"))
    named = changed(END, nodes=DECISION.nodes)
    assert_unreadable(messages.report, f"report.{MACHINE}", named)


@pytest.mark.parametrize(
    "more",
    [{"kind": "end"}, {"kind": "submitted"}, *({"step": each} for each in ("end", "completed"))],
    ids=str,
)
def test_nodes_say_nothing_that_streams_say_of_whole_jobs(more: dict[str, str]) -> None:
    body = changed(END, **{"kind": "step", **more})
    with pytest.raises(Unreadable, match="whole jobs"):
        messages.report(f"report.{MACHINE}", body)


def test_a_kind_that_is_not_known_here_is_read() -> None:
    body = changed(END, kind="something-new")
    assert messages.report(f"report.{MACHINE}", body).kind == "something-new"


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"value": "a"},
        {"value": None, "hostname": "a"},
        {"value": 1, "hostname": "a"},
        {"value": ["a"], "hostname": "a"},
        {"value": "a\0", "hostname": "a"},
        {"value": "a\r\n", "hostname": "a"},
        {"value": "a" * 8001, "hostname": "a"},
        {"value": "a", "hostname": "a b"},
    ],
)
def test_what_was_found_is_a_text_that_nodes_can_read(data: Any) -> None:
    assert_unreadable(messages.report, f"report.{MACHINE}", changed(FOUND, data=data))
    decision = changed(FOUND, data=data, machine="_")
    assert_unreadable(messages.decision, decision)


def test_what_was_found_reads_as_the_lead_of_a_release() -> None:
    event = messages.decision(changed(FOUND, machine="_"))
    release = msgspec.structs.replace(RELEASE, lead=LEAD.of(event))
    assert messages.order(changed(release), MACHINE) == release


def test_a_heartbeat_names_whole_ids_and_not_too_many() -> None:
    def beat(**fields: Any) -> Any:
        return messages.heartbeat(f"beat.{MACHINE}", changed(HEARTBEAT, **fields))[1]

    assert len(beat(tasks=bytes(range(16)) * MOST_NAMED).jobs) == 1
    for tasks in (b"a", bytes(15), bytes(17), bytes(16 * (MOST_NAMED + 1))):
        with pytest.raises(Unreadable):
            beat(tasks=tasks)
    assert beat(interval=LONGEST_INTERVAL).interval == LONGEST_INTERVAL
    for interval in (0.0, -1.0, LONGEST_INTERVAL + 1, 1e308):
        with pytest.raises(Unreadable):
            beat(interval=interval)
    for raw in (b'"!!!!"', b'"a"', b'"AAAA\\u0000"', b"[1]"):
        body = put(msgspec.json.decode(changed(HEARTBEAT)), ("tasks",), msgspec.Raw(raw))
        with pytest.raises(Unreadable):
            messages.heartbeat(f"beat.{MACHINE}", body)


@pytest.mark.parametrize(
    "labels",
    [
        *({"": "a"}, {"a": ""}, {"a": "b..c"}, {"a:b": "c"}, {"a": "*"}, {"a": ">"}, {"_a": "b"}),
        *({"a": "é"}, {"a b": "c"}, {"a": ".".join("a" * 17)}, {"a": "b" * 255}, {"a/b": "c"}),
    ],
)
def test_labels_are_labels(labels: dict[str, str]) -> None:
    body = changed(REGISTRATION, labels=labels)
    assert_unreadable(messages.registration, f"ask.{MACHINE}.register", body)


@pytest.mark.parametrize(
    "hostname", ["", "_all", "_any", "_", "a b", "a/b", "group:web", "a..b", ".", "x" * 65]
)
def test_hostnames_are_hostnames(hostname: str) -> None:
    body = changed(REGISTRATION, hostname=hostname)
    assert_unreadable(messages.registration, f"ask.{MACHINE}.register", body)


def test_decisions_are_of_nobody_and_reports_of_somebody() -> None:
    assert_unreadable(messages.decision, msgspec.json.encode(END))
    assert_unreadable(messages.group, msgspec.json.encode([END, DECISION]))


def test_groups_have_no_more_in_them_than_there_are_places() -> None:
    small = Event(JOB_ID, MACHINE, "a", "step", NOW)
    full = [small] * MOST_IN_GROUP
    assert messages.group(msgspec.json.encode(full)) == full
    assert_unreadable(messages.group, msgspec.json.encode([*full, small]))
    read = Answered(JOB, full[1:])
    assert messages.answered(msgspec.json.encode([read])) == [read]
    assert_unreadable(messages.answered, msgspec.json.encode([Answered(JOB, full)]))
    assert_unreadable(messages.answered, msgspec.json.encode([read, Answered(JOB)]))


def test_ten_megabytes_of_a_valid_list_are_unreadable() -> None:
    many = msgspec.json.encode([END] * (10 * 1024 * 1024 // len(msgspec.json.encode(END))))
    assert len(many) > LARGEST
    assert_unreadable(messages.group, many)
    reads = msgspec.json.encode([Answered(JOB, [END])] * 10_000)
    assert_unreadable(messages.answered, reads)
    with pytest.raises(Unreadable):
        messages.report(f"report.{MACHINE}", changed(END, data={"a": "a" * LARGEST_REPORT}))


def nested(levels: int) -> Any:
    """Return an object of so many levels, with brackets in texts that count for nothing."""
    value: Any = '"\\[]'
    for level in range(levels):
        value = {"[": value} if (levels - level) % 2 else [value, "]"]
    return value


def test_what_is_as_deep_as_may_be_is_stored_with_others_and_read_again() -> None:
    event = msgspec.structs.replace(END, data=nested(DEEPEST - 1))
    reported = messages.report(f"report.{MACHINE}", msgspec.json.encode(event))
    assert messages.group(msgspec.json.encode([reported])) == [event]
    read = [Answered(JOB, [reported])]
    assert messages.answered(msgspec.json.encode(read)) == read
    job = msgspec.structs.replace(JOB, parameters=nested(DEEPEST - 1))
    assert messages.job(msgspec.json.encode(job)) == job
    release = msgspec.structs.replace(RELEASE, job=job)
    assert messages.order(changed(release), MACHINE) == release


@pytest.mark.parametrize("levels", [DEEPEST, DEEPEST + 1, 200, 900])
def test_what_is_deeper_is_unreadable(levels: int) -> None:
    data = nested(levels)
    assert_unreadable(messages.report, f"report.{MACHINE}", changed(END, data=data))
    assert_unreadable(messages.job, changed(JOB, parameters=data))
