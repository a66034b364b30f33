"""When the credential that a request brought for its job is removed."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from towline.controller.credentials.jobs import JobCredentials
from towline.wire.job import new_id

HOUR = 3600.0


class Store:
    """What is stored, without a broker."""

    def __init__(self, *job_ids: str) -> None:
        self.kept = set(job_ids)

    async def jobs(self) -> list[str]:
        return list(self.kept)

    async def remove_for_job(self, job_id: str) -> None:
        self.kept.remove(job_id)


def credentials(store: Store, *, index: Any = None, caught_up: bool = True, **more: Any) -> Any:
    index = index or SimpleNamespace(status=lambda _: None, deleted=lambda _: False)
    indexer = SimpleNamespace(subscribe=lambda _: None, caught_up=caught_up)
    return JobCredentials(store, index, indexer, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("done", "left"), [(False, {"a"}), (True, set())])
async def test_it_is_removed_when_the_job_has_ended(done: bool, left: set[str]) -> None:
    store = Store("a")
    status = SimpleNamespace(done=done)
    index = SimpleNamespace(status=lambda _: status, deleted=lambda _: False)
    await credentials(store, index=index).tidy()
    assert store.kept == left


async def test_it_is_removed_when_the_job_was_deleted() -> None:
    store = Store("a")
    index = SimpleNamespace(status=lambda _: None, deleted=lambda _: True)
    await credentials(store, index=index).tidy()
    assert store.kept == set()


@pytest.mark.parametrize("step", [-HOUR, 0.0, HOUR])
async def test_it_stays_while_its_job_may_be_about_to_be_made_whatever_the_clock(
    monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    job_id = new_id()
    store = Store(job_id)
    kept = credentials(store)
    await kept.tidy()
    now = time.time() + step
    monkeypatch.setattr(time, "time", lambda: now)
    await kept.tidy()
    assert store.kept == {job_id}


@pytest.mark.parametrize(("caught_up", "left"), [(False, {"a"}), (True, set())])
async def test_it_is_removed_when_the_job_was_never_made_as_an_index_that_is_not_behind_knows(
    caught_up: bool, left: set[str]
) -> None:
    store = Store("a")
    kept = credentials(store, caught_up=caught_up, never_made=0.0)
    for _ in range(2):
        await asyncio.sleep(0.001)
        await kept.tidy()
    assert store.kept == left


async def test_what_another_controller_has_removed_is_forgotten() -> None:
    store = Store("a")
    kept = credentials(store, never_made=0.0)
    await kept.tidy()
    store.kept.clear()
    await kept.tidy()
    store.kept.add("a")
    await asyncio.sleep(0.001)
    await kept.tidy()
    assert store.kept == {"a"}
