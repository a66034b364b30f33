"""The records of members in a real broker, as several controllers follow them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from towline.broker.jetstream import JetStream
from towline.controller.fleet import Fleet
from towline.controller.members import REMEMBERED_FOR, Members
from towline.errors import Conflict, NotFound
from towline.wire.member import MemberRecord
from towline.wire.node import Registration

NKEY = "U" + "A" * 55


def record(machine: str, hostname: str, **more: Any) -> MemberRecord:
    now = time.time()
    return MemberRecord(machine, NKEY, "key", hostname, "accepted", "i1", now, "ann", now, **more)


@contextlib.asynccontextmanager
async def following(members: Members) -> AsyncIterator[Members]:
    """Let a controller follow the records for as long as the block lasts."""
    task = asyncio.create_task(members.run())
    try:
        async with asyncio.timeout(20):
            await members.known.wait()
        yield members
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(members: Members, hostname: str, machine: str | None) -> None:
    """Wait until a name belongs to a machine, None for nobody."""
    async with asyncio.timeout(20):
        while getattr(members.named(hostname), "machine", None) != machine:
            await asyncio.sleep(0.001)


@pytest.fixture
async def members(jetstream: JetStream) -> Members:
    made = Members(jetstream, Fleet())
    await made.create(1)
    return made


async def test_what_one_controller_records_all_know(members: Members, jetstream: JetStream) -> None:
    stored = await members.add(record("m1", "web-01"))
    async with following(Members(jetstream, Fleet())) as other:
        assert other.all() == [stored]
        await members.add(record("m2", "web-02"))
        await until(other, "web-02", "m2")
        assert other.get("m2") == members.get("m2")
        assert other.get("m3") is None


async def test_of_machines_that_want_one_name_at_once_one_gets_it(
    members: Members, jetstream: JetStream
) -> None:
    several = [members, *(Members(jetstream, Fleet()) for _ in range(3))]
    names = ["web-01", "WEB-01", "Web-01", "web-01"]
    found = await asyncio.gather(
        *(
            each.add(record(f"m{number}", name))
            for number, (each, name) in enumerate(zip(several, names, strict=True))
        ),
        return_exceptions=True,
    )
    assert [isinstance(each, MemberRecord) for each in found].count(True) == 1
    assert [isinstance(each, Conflict) for each in found].count(True) == 3


@pytest.mark.parametrize("state", ["rejected", "removed"])
async def test_the_name_of_one_that_was_rejected_or_removed_is_free(
    members: Members, state: str
) -> None:
    await members.add(record("m1", "web-01"))
    await members.change("m1", lambda found: msgspec.structs.replace(found, state=state))
    assert members.named("web-01") is None
    assert [each.machine for each in members.all()] == (["m1"] if state == "rejected" else [])
    await members.add(record("m2", "web-01"))
    assert getattr(members.named("web-01"), "machine", None) == "m2"


async def test_changes_at_two_controllers_at_once_are_both_made(
    members: Members, jetstream: JetStream
) -> None:
    await members.add(record("m1", "web-01"))
    async with following(members), following(Members(jetstream, Fleet())) as other:

        def with_label(key: str) -> Any:
            return lambda found: msgspec.structs.replace(found, labels={**found.labels, key: "1"})

        await asyncio.gather(
            *(
                each.change("m1", with_label(f"k{number}"))
                for number, each in enumerate([members, other] * 5)
            )
        )
        latest = await members.change("m1", lambda found: found)
        assert set(latest.labels) == {f"k{number}" for number in range(10)}


async def test_a_node_that_is_renamed_has_the_new_name_everywhere_and_the_old_one_is_free(
    members: Members, jetstream: JetStream
) -> None:
    async with following(members), following(Members(jetstream, Fleet())) as other:
        await members.add(record("m1", "web-01"))
        await members.add(record("m2", "web-02"))

        def named(hostname: str) -> Any:
            return lambda found: msgspec.structs.replace(found, hostname=hostname)

        with pytest.raises(Conflict, match="'web-02'"):
            await members.change("m1", named("web-02"))
        await members.change("m1", named("web-03"))
        await until(other, "web-03", "m1")
        assert other.named("web-01") is None
        await other.add(record("m3", "web-01"))
        await until(members, "web-01", "m3")
    async with following(Members(jetstream, Fleet())) as later:
        assert {each.hostname: each.machine for each in later.all()} == {
            "web-01": "m3",
            "web-02": "m2",
            "web-03": "m1",
        }


def altered(**fields: Any) -> Any:
    return lambda found: msgspec.structs.replace(found, **fields)


async def until_removed(members: Members, machine: str) -> None:
    async with asyncio.timeout(20):
        while getattr(members.get(machine), "state", "") != "removed":
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_who_missed_that_a_node_was_removed_learns_it_when_another_has_its_name(
    members: Members, jetstream: JetStream, how: str
) -> None:
    fleet = Fleet()
    late = Members(jetstream, fleet)
    first = await members.add(record("m1", "web-01"))
    async with following(late):
        pass
    if how == "removed":
        await members.change("m1", altered(state="removed"))
        await members.add(record("m2", "web-01"))
    else:
        second = await members.replace(first, record("m3", "web-01", replaces="m1"))
        await members.replace(second, record("m2", "web-01", replaces="m3"))
    # Nor did it follow before what it stores itself.
    await late.add(record("m4", "web-02"))
    async with following(members):
        await until(members, "web-02", "m4")
    await members.change("m4", altered(state="removed"))
    await members.add(record("m5", "web-02"))
    async with following(late):
        await until_removed(late, "m1")
        await until_removed(late, "m4")
    assert [each.machine for each in late.all()] == ["m2", "m5"]
    assert fleet.shut_out.keys() == {"m1", "m4"} | ({"m3"} if how == "replaced" else set())


async def test_who_missed_that_a_node_was_renamed_never_takes_it_for_removed(
    members: Members, jetstream: JetStream
) -> None:
    late, seen = Members(jetstream, Fleet()), []
    await members.add(record("m1", "web-01"))
    async with following(late):
        pass
    late.subscribe(lambda found: seen.append((found.machine, found.state)))
    await members.change("m1", altered(hostname="web-02"))
    await members.add(record("m2", "web-01"))
    await members.change("m1", altered(labels={"group": "web"}))
    async with following(late):
        await until(late, "web-02", "m1")
        await members.add(record("m3", "web-03"))
        await until(late, "web-03", "m3")
    assert seen == [("m2", "accepted"), ("m1", "accepted"), ("m3", "accepted")]


async def test_a_node_is_shut_out_of_which_is_kept_only_that_another_has_replaced_it(
    members: Members, jetstream: JetStream
) -> None:
    first = await members.add(record("m1", "web-01"))
    await members.replace(first, record("m2", "web-01", replaces="m1"))
    fleet = Fleet()
    async with following(Members(jetstream, fleet)):
        assert fleet.shut_out == {"m1": "the node was removed by controller (replaced by m2)"}
        assert fleet.refuses("m1") == fleet.shut_out["m1"]


@pytest.mark.parametrize("how", ["removed", "renamed", "pruned"])
async def test_who_is_to_replace_a_node_takes_its_name_though_that_is_free_by_now(
    members: Members, jetstream: JetStream, how: str
) -> None:
    first = await members.add(record("m1", "web-01"))
    if how == "renamed":
        await members.change("m1", altered(hostname="web-02"))
    else:
        await members.change("m1", altered(state="removed"))
    if how == "pruned":
        await jetstream.call("STREAM.PURGE.KV_members", {})
    await members.replace(first, record("m2", "web-01", replaces="m1"))
    assert [each.machine for each in members.all()] == ["m2"]


async def test_who_is_no_member_has_no_record_to_change(members: Members) -> None:
    with pytest.raises(NotFound, match="'m9'"):
        await members.change("m9", lambda found: found)


@pytest.mark.parametrize("state", ["rejected", "removed"])
async def test_that_a_node_was_rejected_or_removed_is_forgotten_after_a_day(
    members: Members, jetstream: JetStream, state: str
) -> None:
    fleet = members._fleet
    async with following(members):
        long_ago = time.time() - 2 * REMEMBERED_FOR
        removed = record("m1", "web-01", replaces="m0")
        removed = msgspec.structs.replace(removed, state=state, changed=long_ago)
        await members.add(removed)
        await members.add(record("m2", "web-02"))
        async with asyncio.timeout(20):
            while members.get("m1") is not None:
                await asyncio.sleep(0.001)
        answer = await jetstream.call("STREAM.INFO.KV_members")
        assert answer["state"]["messages"] == 1
        assert (set(fleet._records), fleet.shut_out) == ({"m2"}, {})


async def test_who_forgets_a_removed_node_late_forgets_nobody_who_has_its_name_since(
    members: Members, jetstream: JetStream
) -> None:
    late = Members(jetstream, Fleet())
    long_ago = time.time() - 2 * REMEMBERED_FOR
    removed = msgspec.structs.replace(record("m1", "web-01"), state="removed", changed=long_ago)
    await late.add(removed)
    await members.add(record("m2", "web-01"))
    await late._prune()
    assert late.get("m1") is None
    async with following(Members(jetstream, Fleet())) as other:
        assert getattr(other.named("web-01"), "machine", None) == "m2"


async def test_a_record_that_cannot_be_read_ends_nothing(
    members: Members, jetstream: JetStream
) -> None:
    await jetstream.append("$KV.members.bad", b'{"machine": "m1"}')
    await jetstream.append("$KV.members.worse", msgspec.json.encode(record("m1", "not a name")))
    async with following(members):
        await members.add(record("m2", "web-02"))
        assert [each.machine for each in members.all()] == ["m2"]


async def test_the_fleet_knows_a_member_by_its_record(
    members: Members, jetstream: JetStream
) -> None:
    fleet = Fleet()
    async with following(Members(jetstream, fleet)) as other:
        await members.add(record("m1", "web-01", labels={"group": "web"}))
        await until(other, "web-01", "m1")
    now = time.time()
    fleet.register(Registration("m1", "db-01", "0.2.0", now, now, {"group": "db"}))
    assert fleet.one("web-01").registration.labels == {"group": "web"}
