"""Controllers that die: others go on, and an index is as good as its journal."""

import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.passages import (
    EFFECTS,
    LONG,
    ONE,
    TWO,
    answering,
    ask,
    counts,
    hold,
    let_go,
    shows,
)
from tests.testing.process import wait_until


def test_a_controller_that_dies_with_requests_in_flight_leaves_their_jobs_to_the_others(
    system: Cluster, gate: Gate, other: httpx.Client, name: str
) -> None:
    hold(gate, name)
    (process,) = system.controllers
    with ThreadPoolExecutor(9) as callers:
        flying = [
            callers.submit(ask, other, target, effect, name, prefer=LONG)
            for effect in EFFECTS
            for target in ("_all", "_any", ONE)
        ]
        wait_until(
            lambda: (
                sum(
                    counts(gate, name, effect, node)[0] for effect in EFFECTS for node in (ONE, TWO)
                )
                == 12
            ),
            what="all to be begun",
        )
        process.kill()
        assert all(isinstance(call.exception(), httpx.TransportError) for call in flying)
    try:
        # Reads are recorded when they are answered: these end with the controller.
        known = system.admin.get("/job", params={"limit": 6}).json()["items"]
        assert all(job["operation"]["data"]["name"].startswith(name) for job in known)
        assert {job["operation"]["type"] for job in known} == {"gate.pass", "gate.once"}
        let_go(gate, name)
        for job in known:
            assert system.ended(job["id"])["status"] == "completed"
    finally:
        process.start()
        answering(process, other)
    for job in known:
        assert other.get(f"/job/{job['id']}").json() == system.job(job["id"])
    for effect in EFFECTS[:2]:
        assert sum(counts(gate, name, effect, node)[0] for node in (ONE, TWO)) == 4


def index_of(cluster: Cluster) -> Path:
    """Return the second controller's index."""
    return cluster.directory / "controller-0" / "index.sqlite"


def test_a_controller_that_was_killed_goes_on_with_its_index(
    system: Cluster, other: httpx.Client, name: str
) -> None:
    before = ask(other, ONE, "pass", name, prefer="wait=30").json()["job_id"]
    # Asking for it has it written.
    assert other.get(f"/job/{before}").json()["status"] == "completed"
    (process,) = system.controllers
    process.kill()
    with closing(sqlite3.connect(index_of(system))) as index, index:
        index.execute("UPDATE job SET caller = 'marked' WHERE id = ?", (before,))
    after = ask(system.admin, ONE, "pass", name, prefer="wait=30").json()["job_id"]
    said = len(process.stderr)
    process.start()
    answering(process, other)
    assert other.get(f"/job/{after}").json()["status"] == "completed"
    with closing(sqlite3.connect(index_of(system))) as index:
        marked = index.execute("SELECT id FROM job WHERE caller = 'marked'").fetchall()
    assert marked == [(before,)]
    assert "index" not in process.stderr[said:]


def delete(index: Path) -> None:
    for path in index.parent.glob("index.sqlite*"):
        path.unlink()


def overwrite(index: Path) -> None:
    index.write_bytes(b"no index, and no database at all" * 1000)


def shorten(index: Path) -> None:
    with index.open("r+b") as file:
        file.truncate(index.stat().st_size // 2 + 100)


def blot(index: Path) -> None:
    """Overwrite a page in the middle."""
    with index.open("r+b") as file:
        file.seek(index.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)


def run_ahead(index: Path) -> None:
    """Leave an index of a journal that had more than this one has: it lost its end since."""
    with closing(sqlite3.connect(index)) as database, database:
        database.execute("UPDATE position SET sequence = sequence + 1000")


@pytest.mark.parametrize("spoil", [delete, overwrite, shorten, blot, run_ahead])
def test_an_index_that_is_of_no_use_is_built_anew_and_said_to_be(
    system: Cluster, other: httpx.Client, name: str, spoil: Callable[[Path], None]
) -> None:
    ask(other, "_all", "pass", name, prefer="wait=30")
    (process,) = system.controllers
    assert process.stop() == 0
    spoil(index_of(system))
    said = len(process.stderr)
    process.start()
    answering(process, other)
    wait_until(lambda: "index built anew" in process.stderr[said:], what="word of it")
    for query in ("limit=100", "status=completed&limit=100"):
        listed = system.admin.get(f"/job?{query}").json()
        wait_until(partial(shows, other, f"/job?{query}", listed), what="the same jobs")


def test_an_index_that_is_older_than_the_journal_catches_up(
    system: Cluster, other: httpx.Client, name: str
) -> None:
    (process,) = system.controllers
    assert process.stop() == 0
    old = index_of(system).with_suffix(".old")
    shutil.copy(index_of(system), old)
    process.start()
    answering(process, other)
    job = ask(other, "_all", "pass", name, prefer="wait=30").json()["job_id"]
    assert process.stop() == 0
    old.replace(index_of(system))
    process.start()
    answering(process, other)
    assert other.get(f"/job/{job}").json() == system.job(job)


@pytest.mark.parametrize("way", [1, -1])
def test_jobs_are_waited_for_and_cancelled_wherever_they_were_made(
    system: Cluster, gate: Gate, other: httpx.Client, name: str, way: int
) -> None:
    here, there = (system.admin, other)[::way]
    hold(gate, name)
    passing, stopped = (
        ask(here, "_all", effect, name).json()["job_id"] for effect in ("pass", "once")
    )
    with ThreadPoolExecutor(4) as callers:
        waits = {
            job: [
                callers.submit(client.get, f"/job/{job}", headers={"Prefer": LONG})
                for client in (here, there)
            ]
            for job in (passing, stopped)
        }
        wait_until(lambda: counts(gate, name, "once", TWO)[0] == 1, what="it to be begun")
        wait_until(lambda: counts(gate, name, "once", ONE)[0] == 1, what="it to be begun")
        answer = there.post(f"/job/{stopped}/cancel", headers={"Prefer": LONG}).json()
        let_go(gate, name)
        assert {result["status"] for result in answer["results"]} == {"cancelled"}
        assert {wait.result().json()["status"] for wait in waits[stopped]} == {"failed"}
        assert {wait.result().json()["status"] for wait in waits[passing]} == {"completed"}
    assert {counts(gate, name, "once", node) for node in (ONE, TWO)} == {(1, 0)}
    assert {gate.stopped(f"{name}-once", node) for node in (ONE, TWO)} == {1}
