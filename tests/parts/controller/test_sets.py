"""Sets in a real broker, as several controllers declare, change and follow them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.controller.sets.record import Change, ImageState, SetRecord, SetState, WantedImage
from towline.controller.sets.sets import LOST, RECORDS, STATES, Sets
from towline.errors import Conflict, NotFound

NGINX, REDIS = "docker.io/library/nginx:1.27", "docker.io/library/redis:7"
FIRST, SECOND = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@contextlib.asynccontextmanager
async def following(sets: Sets) -> AsyncIterator[Sets]:
    """Let a controller follow the sets for as long as the block lasts."""
    task = asyncio.create_task(sets.run())
    try:
        await sets.until_known()
        yield sets
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def sets(jetstream: JetStream) -> AsyncIterator[Sets]:
    made = Sets(jetstream)
    await made.create(1)
    async with following(made):
        yield made


def record(name: str, *images: str, id: str = "a", created: float = 0.0) -> SetRecord:
    now = created or time.time()
    wanted = [WantedImage(each) for each in images or (NGINX,)]
    return SetRecord(name, id, 1, "group:web", wanted, now, "ann", now, "ann")


def as_new(name: str) -> Callable[[SetRecord | None], SetRecord]:
    return lambda before: record(name)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_one_controller_declares_changes_and_removes_all_know(
    sets: Sets, jetstream: JetStream
) -> None:
    told: list[int] = []
    async with following(Sets(jetstream)) as other:
        other.subscribe(lambda: told.append(len(other.all())))
        web, db = record("web.prod"), record("db", REDIS, id="b")
        await sets.declare("web.prod", lambda before: before or web)
        await sets.declare("db", lambda before: before or db)
        await until(lambda: other.get("db") is not None)
        assert other.all() == sets.all() == [web, db]

        def found(state: SetState) -> SetState:
            image = ImageState(NGINX, current=FIRST, next=SECOND)
            return msgspec.structs.replace(state, images=[*state.images, image])

        await other.change("web.prod", found)
        await until(lambda: bool(sets.state("web.prod").images))
        assert sets.state("web.prod") == other.state("web.prod")
        repository = "docker.io/library/nginx"
        assert sets.wanted() == [
            NGINX,
            f"{repository}@{FIRST}",
            f"{repository}@{SECOND}",
            REDIS,
        ]

        await sets.remove("web.prod", "ann")
        await until(lambda: other.get("web.prod") is None)
        assert other.all() == [db]
        assert told[-1] == 1
        with pytest.raises(NotFound):
            await other.change("web.prod", found)
        with pytest.raises(NotFound):
            await other.remove("web.prod", "ben")
    # One that is started now, and one that comes back after all of it was forgotten.
    async with following(Sets(jetstream)) as later:
        assert later.all() == [db]


async def test_a_set_of_the_same_name_is_another_and_begins_with_nothing(sets: Sets) -> None:
    first, second = record("web"), record("web", id="b")
    await sets.declare("web", lambda before: before or first)
    await sets.change("web", lambda state: msgspec.structs.replace(state, paused=time.time()))
    await sets.remove("web", "ann")
    await sets.declare("web", lambda before: before or second)
    assert sets.get("web") == second
    assert sets.state("web") == SetState("b")


async def test_what_comes_of_a_set_made_anew_outlives_the_removal_of_that_before(
    sets: Sets, jetstream: JetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = SetState("b", paused=time.time())
    purge = Bucket.purge
    await sets.declare("web", as_new("web"))
    await sets.change("web", lambda state: msgspec.structs.replace(state, paused=time.time()))
    async with following(Sets(jetstream)) as other:

        async def late(bucket: Bucket[SetState], key: str, *, up_to: int | None = None) -> bool:
            await other.declare("web", lambda before: before or record("web", id="b"))
            await other.change("web", lambda state: paused)
            await until(lambda: sets.state("web") == paused)
            return await purge(bucket, key, up_to=up_to)

        monkeypatch.setattr(Bucket, "purge", late)
        await sets.remove("web", "ann")
        monkeypatch.undo()
        assert sets.state("web") == paused
        assert await sets.change("web", lambda state: state) == paused


async def test_of_changes_at_the_same_time_none_is_lost(sets: Sets, jetstream: JetStream) -> None:
    def counted(before: SetRecord | None) -> SetRecord:
        if before is None:
            return record("web")
        return msgspec.structs.replace(before, generation=before.generation + 1)

    def noted(by: str) -> Callable[[SetState], SetState]:
        def more(state: SetState) -> SetState:
            change = Change(time.time(), by, "declared")
            return msgspec.structs.replace(state, history=[*state.history, change])

        return more

    async with following(Sets(jetstream)) as other:
        await asyncio.gather(*(each.declare("web", counted) for each in (sets, other) * 5))
        await asyncio.gather(
            *(each.change("web", noted(str(count))) for count, each in enumerate((sets, other) * 5))
        )
        stored, _ = await sets.newest("web")
        assert stored is not None
        assert stored.generation == 10
        await until(lambda: len(sets.state("web").history) == 10)
        assert {each.by for each in sets.state("web").history} == {*map(str, range(10))}


async def test_what_stays_in_a_set_keeps_its_state_and_what_is_kept_has_bounds(
    sets: Sets,
) -> None:
    await sets.declare("web", lambda before: record("web", NGINX, REDIS))
    kept = ImageState(NGINX, current=FIRST, before=[f"sha256:{each:064}" for each in range(50)])
    history = [Change(time.time(), "ann", "resolved", reason="x" * 9000)] * 150
    await sets.change(
        "web", lambda state: SetState(state.id, [kept, ImageState(REDIS)], history=history)
    )
    await sets.declare("web", lambda before: record("web", NGINX))
    state = sets.state("web")
    assert [(each.image, each.current) for each in state.images] == [(NGINX, FIRST)]
    assert (len(state.images[0].before), len(state.history)) == (20, 100)
    assert len(state.history[0].reason) < 1000


async def test_what_is_broken_in_the_bucket_ends_nothing_and_can_be_declared_anew(
    sets: Sets, jetstream: JetStream
) -> None:
    bucket = Bucket(jetstream, RECORDS, SetRecord)
    await jetstream.append(bucket.subject("torn"), b"{")
    bad = msgspec.structs.replace(record("web"), target="_any")
    await bucket.put("web", bad)
    await bucket.put("other", record("web"))
    await bucket.put("reference", record("reference", "NGINX"))
    await sets.declare("db", lambda before: record("db"))
    async with following(Sets(jetstream)) as later:
        assert [each.name for each in later.all()] == ["db"]
        for name in ("torn", "web"):
            await later.declare(name, as_new(name))
        assert len(later.all()) == 3


async def test_a_state_that_cannot_be_read_is_replaced_by_a_pause(
    sets: Sets, jetstream: JetStream
) -> None:
    await sets.declare("web", as_new("web"))
    states = Bucket(jetstream, STATES, SetState)
    torn = msgspec.json.encode({"id": "a", "images": [{"image": NGINX, "next": "no digest"}]})
    subject = states.subject("web")
    await jetstream.append(subject, jetstream.seal.close(subject, torn))

    def found(state: SetState) -> SetState:
        return msgspec.structs.replace(state, images=[ImageState(NGINX, next=FIRST)])

    state = await sets.change("web", found)
    assert state.paused is not None
    assert state.images == [ImageState(NGINX, next=FIRST)]
    assert [(each.what, each.by, each.reason) for each in state.history] == [
        ("paused", "set:web", LOST)
    ]
    stored = await states.get("web")
    assert stored is not None
    assert stored.value == state


async def test_what_no_controller_could_read_back_is_not_stored(
    sets: Sets, jetstream: JetStream
) -> None:
    await sets.declare("web", as_new("web"))
    text = ImageState(NGINX, current=FIRST, problem="away\r\x00", stopped="\x1b[2J")
    state = await sets.change("web", lambda state: SetState(state.id, [text]))
    with pytest.raises(ValueError, match="next"):
        await sets.change("web", lambda state: SetState(state.id, [ImageState(NGINX, next="a b")]))
    stored = await Bucket(jetstream, STATES, SetState).get("web")
    assert stored is not None
    assert stored.value == state
    assert state.images[0].current == FIRST


async def test_there_are_only_so_many_sets_and_removed_ones_are_forgotten(
    sets: Sets, jetstream: JetStream
) -> None:
    async with following(Sets(jetstream, most=2, remembered_for=0.0)) as few:
        for name in ("a", "b"):
            await few.declare(name, as_new(name))
        with pytest.raises(Conflict, match="2 sets already"):
            await few.declare("c", lambda before: record("c"))
        await few.remove("a", "ann")
        await few.declare("c", lambda before: record("c"))
        bucket = Bucket(jetstream, RECORDS, SetRecord)
        async with asyncio.timeout(20):
            while await bucket.get("a") is not None:
                await asyncio.sleep(0.01)


async def test_whoever_may_change_a_set_is_asked_of_its_newest_declaration(
    sets: Sets, jetstream: JetStream
) -> None:
    wide = msgspec.structs.replace(record("web"), target="_all", generation=2)
    await sets.declare("web", lambda before: record("web"))
    await sets.declare("web", lambda before: wide)
    asked: list[str] = []

    def allow(newest: SetRecord) -> None:
        asked.append(newest.target)
        raise Conflict("It is outside of what you may change.", "")

    # A controller that doesn't follow them knows none of both.
    with pytest.raises(Conflict):
        await Sets(jetstream).change("web", lambda state: state, allow)
    assert asked == ["_all"]
