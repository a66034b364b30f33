"""The audit on a real broker: what is stored, what an outage costs, and what tampering shows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.testing.audit import VERIFIER, altered, entry_of, request, resigned
from tests.testing.broker import Broker
from tests.testing.signing import SIGNER
from towline.broker.jetstream import JetStream
from towline.controller.audit.archive import Archive, Filter
from towline.controller.audit.entry import AUDIT, AUDITED, CHECKPOINT, CHECKPOINTS, Request
from towline.controller.audit.trail import Keeping, Trail
from towline.controller.audit.verification import CHANGED, PUT_IN, REMOVED
from towline.controller.jobs.index import Index

KEEPING = Keeping()
JOB = f"{'0' * 8}-0000-7000-8000-{'0' * 12}"
Messages = list[bytes]


def trail(jetstream: JetStream, name: str = "ctl-1", **timings: float | int) -> Trail:
    usual: dict[str, float | int] = {"gathered_for": 0.001, "checked_every": 60.0}
    return Trail(jetstream, SIGNER, name, KEEPING, **{**usual, **timings})  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def running(*parts: Trail | Archive) -> AsyncIterator[None]:
    """Run parts of a controller for as long as the block lasts."""
    tasks = [asyncio.create_task(each.run()) for each in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stored(trail: Trail, count: int) -> None:
    async with asyncio.timeout(20):
        while trail.head.number < count:
            await asyncio.sleep(0.001)


async def record(trail: Trail, count: int) -> None:
    """Store entries, each in a message of its own."""
    for _ in range(count):
        trail.add(request(caller="ann"), "")
        await stored(trail, trail.head.number + 1)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index.sqlite")


def archive(jetstream: JetStream, index: Index, trail: Trail) -> Archive:
    return Archive(jetstream, index, trail, VERIFIER, KEEPING.age)


async def messages(jetstream: JetStream, stream: str) -> Messages:
    """Return all that a stream holds."""
    made = archive(jetstream, None, None)  # type: ignore[arg-type]
    return [data async for _, data in made._all(stream)]


async def rewrite(jetstream: JetStream, trail: Trail, groups: Messages, marks: Messages) -> None:
    """Put other streams in place of those of the audit, as whoever has the broker may do it."""
    for stream, subject, data in ((AUDIT, AUDITED, groups), (CHECKPOINTS, CHECKPOINT, marks)):
        await jetstream.call(f"STREAM.DELETE.{stream}")
        await trail.create(1)
        for each in data:
            await jetstream.append(subject, each)


async def test_what_was_added_is_listed_and_intact(jetstream: JetStream, index: Index) -> None:
    made = trail(jetstream)
    await made.create(1)
    kept = archive(jetstream, index, made)
    async with running(made, kept):
        await record(made, 3)
        made.add(request(caller="ben", status=403, operation="job.delete"), "")
        made.add(request(operation="docker.pull", job=JOB), "")
        await stored(made, 5)
        await kept.catch_up()
        assert [each.number for each in kept.entries(Filter(), limit=3)] == [5, 4, 3]
        assert [each.number for each in kept.entries(Filter(), limit=3, offset=3)] == [2, 1]
        assert kept.count(Filter(caller="ann")) == 3
        (refused,) = kept.entries(Filter(status=403), limit=9)
        assert (refused.caller, refused.operation) == ("ben", "job.delete")
        assert kept.get(refused.id) == refused
        assert [each.job for each in kept.entries(Filter(job=JOB), limit=9)] == [JOB]
        assert kept.count(Filter(until=refused.time)) == 3
        assert len(await kept.export(Filter(), most=4)) == 4
        found = await kept.verify()
        assert (found.faults, found.entries, found.chains) == ([], 5, 1)


async def test_a_controller_that_ends_stores_what_it_has_and_says_how_far_it_came(
    jetstream: JetStream, index: Index
) -> None:
    made = trail(jetstream, gathered_for=60.0)
    await made.create(1)
    async with running(made):
        made.add(request(), "")
        for _ in range(9):
            made.add(request(status=401), "192.0.2.1")
        await asyncio.sleep(0.01)
        assert made.head.number == 0
    assert made.head.number == 3
    later = trail(jetstream)
    found = await archive(jetstream, index, later).verify()
    assert (found.faults, found.entries, found.checkpoints) == ([], 3, 2)


async def test_no_outage_loses_what_there_is_room_for_and_the_rest_is_counted(
    own_broker: Broker, jetstream: JetStream, index: Index
) -> None:
    made = trail(jetstream, most_waiting=20)
    await made.create(1)
    kept = archive(jetstream, index, made)
    async with running(made, kept):
        await record(made, 1)
        await asyncio.to_thread(own_broker.stop)
        for _ in range(50):
            made.add(request(caller="ann"), "")
        assert (made.waiting, made.lost) == (20, 30)
        await asyncio.to_thread(own_broker.start)
        await stored(made, 21)
        assert made.waiting == 0
        made.add(request(caller="ben"), "")
        await stored(made, 22)
        await kept.catch_up()
        assert sum(each.lost for each in kept.entries(Filter(), limit=30)) == 30
        found = await kept.verify()
        assert (found.faults, found.entries) == ([], 22)


async def test_a_stream_that_somebody_deletes_is_made_again_and_missed(
    jetstream: JetStream, index: Index
) -> None:
    made = trail(jetstream, attempt_within=0.2)
    await made.create(1)
    kept = archive(jetstream, index, made)
    async with running(made, kept):
        await record(made, 3)
        await jetstream.call(f"STREAM.DELETE.{AUDIT}")
        await record(made, 1)
        faults = (await kept.verify()).faults
        assert [(each.kind, each.number) for each in faults] == [(REMOVED, 1)]
        assert "entries 1 to 3 were removed" in faults[0].error


async def test_nobody_deletes_single_messages_of_it(jetstream: JetStream) -> None:
    await trail(jetstream).create(1)
    for stream in (AUDIT, CHECKPOINTS):
        config = (await jetstream.call(f"STREAM.INFO.{stream}"))["config"]
        assert (config["deny_delete"], config["deny_purge"]) == (True, True)


Tampering = Callable[[Messages, Messages], object]


def of(name: str, groups: Messages) -> list[int]:
    """Return which messages are a controller's."""
    return [at for at, each in enumerate(groups) if entry_of(each).controller == name]


def _without(name: str, groups: Messages, marks: Messages, *, whole: bool = False) -> None:
    chain = entry_of(groups[of(name, groups)[0]]).chain
    groups[:] = [each for each in groups if entry_of(each).controller != name]
    if whole:
        marks[:] = [each for each in marks if chain.encode() not in each]


def _clear(*streams: Messages) -> None:
    for each in streams:
        each.clear()


TAMPERINGS: dict[str, tuple[Tampering, set[tuple[str, str, int]]]] = {
    "nothing": (lambda groups, marks: None, set()),
    "the first entry changed": (
        lambda groups, marks: groups.__setitem__(0, altered(groups[0], caller="eve")),
        {(CHANGED, "ctl-1", 1)},
    ),
    "one in the middle changed": (
        lambda groups, marks: groups.__setitem__(4, altered(groups[4], status=200, caller="x")),
        {(CHANGED, "ctl-1", 3)},
    ),
    "the last one changed": (
        lambda groups, marks: groups.__setitem__(-1, altered(groups[-1], caller="eve")),
        {(CHANGED, "ctl-2", 4)},
    ),
    "the first entry removed": (lambda groups, marks: groups.pop(0), {(REMOVED, "ctl-1", 1)}),
    "one in the middle removed": (lambda groups, marks: groups.pop(3), {(REMOVED, "ctl-2", 2)}),
    "the last of one removed": (lambda groups, marks: groups.pop(-2), {(REMOVED, "ctl-1", 4)}),
    "the last of all removed": (lambda groups, marks: groups.pop(), {(REMOVED, "ctl-2", 4)}),
    "one put in at the head": (
        lambda groups, marks: groups.insert(
            0, resigned([entry_of(altered(groups[0], method="X"))])
        ),
        {(PUT_IN, "ctl-1", 1)},
    ),
    "one put in in the middle": (
        lambda groups, marks: groups.insert(3, resigned([entry_of(groups[2])])),
        {(PUT_IN, "ctl-1", 2)},
    ),
    "one put in at the tail": (
        lambda groups, marks: groups.append(
            resigned([entry_of(altered(groups[-1], number=5, caller="eve"))])
        ),
        {(PUT_IN, "ctl-2", 5)},
    ),
    "one of a controller that is none": (
        lambda groups, marks: groups.append(
            resigned([entry_of(altered(groups[0], chain="0" * 32, controller="ctl-9"))])
        ),
        {(PUT_IN, "ctl-9", 1)},
    ),
    "all of a controller removed": (
        lambda groups, marks: _without("ctl-2", groups, marks),
        {(REMOVED, "ctl-2", 1)},
    ),
    "all of it, and that it ever was": (
        lambda groups, marks: _without("ctl-2", groups, marks, whole=True),
        {(REMOVED, "ctl-1", 4), (REMOVED, "ctl-2", 1), (REMOVED, "", 0)},
    ),
    "all of the other, and that it ever was": (
        lambda groups, marks: _without("ctl-1", groups, marks, whole=True),
        {(REMOVED, "ctl-2", 0), (REMOVED, "ctl-2", 4)},
    ),
    "everything": (
        lambda groups, marks: _clear(groups, marks),
        {(REMOVED, "ctl-2", 1), (REMOVED, "", 0)},
    ),
}


async def test_whatever_is_done_to_what_is_stored_is_named(
    jetstream: JetStream, index: Index
) -> None:
    """Two controllers have stored entries in turn; one of them is asked, and one has ended."""
    first, second = trail(jetstream), trail(jetstream, "ctl-2")
    await first.create(1)
    async with running(second), running(first):
        for _ in range(4):
            await record(first, 1)
            await record(second, 1)
    kept = archive(jetstream, index, second)
    groups, marks = await messages(jetstream, AUDIT), await messages(jetstream, CHECKPOINTS)
    assert (len(groups), len(marks)) == (8, 4)
    found: dict[str, set[tuple[str, str, int]]] = {}
    for name, (tamper, _) in TAMPERINGS.items():
        changed, others = list(groups), list(marks)
        tamper(changed, others)
        await rewrite(jetstream, first, changed, others)
        faults = (await kept.verify()).faults
        found[name] = {(each.kind, each.controller, each.number) for each in faults}
    expected = {name: faults for name, (_, faults) in TAMPERINGS.items()}
    assert found == expected


async def test_of_a_flood_of_refused_requests_few_entries_are_stored(
    jetstream: JetStream, index: Index
) -> None:
    made = trail(jetstream, together=0.2)
    await made.create(1)
    kept = archive(jetstream, index, made)
    added: list[Request] = []
    async with running(made, kept):
        for number in range(20_000):
            added.append(request(status=401, path=f"/job/{number}"))
            made.add(added[-1], "192.0.2.1")
        await stored(made, 2)
        await kept.catch_up()
        entries = kept.entries(Filter(), limit=100)
        assert [each.count for each in entries] == [19_999, 1]
        assert entries[0].path == "/job/19999"
