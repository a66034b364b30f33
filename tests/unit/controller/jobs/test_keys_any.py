"""Any requests with any keys, against a model: which job a key stands for, and for whom."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Entry
from towline.controller.jobs.idempotency import Keys, digest
from towline.errors import Conflict
from towline.wire.job import new_id

IDS = [new_id() for _ in range(2)]
KEYS = [*IDS, IDS[0].upper(), "plain", "550e8400-e29b-41d4-a716-446655440000"]


class Memory:
    """A bucket that keeps its first values, as compare-and-set with 0 has it."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    async def get(self, key: str) -> object:
        value = self.values.get(key)
        return None if value is None else Entry(key, value, 1, 0.0)

    async def put(self, key: str, value: object, *, last: int) -> None:
        if key in self.values:
            raise WrongLastSequence(10071, "there is one")
        self.values[key] = value


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ann", "ben"]), st.sampled_from(KEYS), st.sampled_from(["x", "y"])
        ),
        max_size=12,
    )
)
def test_a_key_stands_for_the_first_request_of_whoever_it_is_for(
    asked: list[tuple[str, str, str]],
) -> None:
    keys = Keys(None)  # type: ignore[arg-type]
    keys._bucket = Memory()  # type: ignore[assignment]
    model: dict[tuple[str, str], tuple[tuple[str, str], str]] = {}

    async def ask(caller: str, key: str, request: str) -> None:
        own = key.lower() in IDS
        job = key.lower() if own else new_id()
        place = ("", key.lower()) if own else (caller, key)
        known = model.get(place)
        if known is not None and known[0] != (caller, request):
            for asking in (
                keys.find(caller, key, digest(request)),
                keys.reserve(caller, key, digest(request), job),
            ):
                with pytest.raises(Conflict):
                    await asking
            return
        expected = None if known is None else known[1]
        assert await keys.find(caller, key, digest(request)) == expected
        assert await keys.reserve(caller, key, digest(request), job) == expected
        model.setdefault(place, ((caller, request), job))

    async def ask_all() -> None:
        for each in asked:
            await ask(*each)

    asyncio.run(ask_all())
    jobs = [job for _, job in model.values()]
    assert len(jobs) == len(set(jobs)) == len(keys._bucket.values)  # type: ignore[attr-defined]


async def test_a_key_that_a_controller_of_before_reserved_stands_for_its_job() -> None:
    keys, key, request = Keys(None), IDS[0], digest("x")  # type: ignore[arg-type]
    bucket: Any = Memory()
    keys._bucket = bucket
    assert await keys.reserve("ann", "plain", request, IDS[1]) is None
    bucket.values = {digest("ann", key): bucket.values[digest("ann", "plain")]}
    assert await keys.find("ann", key, request) == IDS[1]
    with pytest.raises(Conflict, match=IDS[1]):
        await keys.find("ann", key, digest("y"))
    assert await keys.find("ben", key, request) is None
