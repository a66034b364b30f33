"""Parts that die, stall, or are of another version: every job still has one end, and a true one."""

import asyncio
import itertools
import json
import math
import os
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import nats
import pytest
from nats.aio.client import Client

from tests.testing.answers import refused
from tests.testing.cluster import NO_ENGINE, Cluster, NodePlan
from tests.testing.gate import Gate
from tests.testing.process import TowlineProcess, wait_until
from tests.testing.relay import Relay

ONE, TWO = "one", "two"
EFFECTS = ("pass", "once", "look")
LONG = "wait=3000"
_names = (f"fault{number}" for number in itertools.count())

T = TypeVar("T")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds operations back."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def system(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes and two controllers; whatever a test takes away it brings back."""
    plans = [NodePlan(ONE), NodePlan(TWO)]
    with Cluster(tmp_path_factory.mktemp("faults"), plans, env=gate.env) as cluster:
        cluster.add_controller()
        yield cluster


@pytest.fixture
def other(system: Cluster) -> httpx.Client:
    """A client of the second controller."""
    return system.others[0]


@pytest.fixture
def name(gate: Gate) -> Iterator[str]:
    """What nothing has passed under yet; whatever is held under it is let go with the test."""
    name = next(_names)
    yield name
    for held in gate.directory.glob(f"{name}*.held"):
        held.unlink()


def ask(
    client: httpx.Client, target: str, effect: str, name: str, *, prefer: str = "respond-async"
) -> httpx.Response:
    """Ask for a passage; each effect has a gate of its own, `<name>-<effect>`."""
    name, headers = f"{name}-{effect}", {"Prefer": prefer}
    if effect == "look":
        return client.get(f"/node/{target}/gate", params={"name": name}, headers=headers)
    return client.post(f"/node/{target}/gate/{effect}", json={"name": name}, headers=headers)


def asked(client: httpx.Client, target: str, name: str) -> dict[str, str]:
    """Ask for a passage of each effect; return the jobs' ids."""
    answers = {effect: ask(client, target, effect, name) for effect in EFFECTS}
    assert all(answer.is_success for answer in answers.values()), answers
    return {effect: answer.json()["job_id"] for effect, answer in answers.items()}


def hold(gate: Gate, name: str) -> None:
    for effect in EFFECTS:
        gate.hold(f"{name}-{effect}")


def let_go(gate: Gate, name: str) -> None:
    for effect in EFFECTS:
        gate.open(f"{name}-{effect}")


def counts(gate: Gate, name: str, effect: str, node: str = ONE) -> tuple[int, int]:
    """Return how often a passage was begun, and how often it came to its end."""
    return gate.begun(f"{name}-{effect}", node), gate.passed(f"{name}-{effect}", node)


def all_begun(gate: Gate, name: str, node: str = ONE) -> None:
    wait_until(
        lambda: all(counts(gate, name, effect, node)[0] for effect in EFFECTS),
        what="all to be begun",
    )


def end(cluster: Cluster, job: str, node: str = ONE) -> tuple[str, str | None]:
    """Wait for a job's end, which all controllers tell alike; return its status on a node."""
    body = cluster.ended(job)
    for client in cluster.others:
        wait_until(partial(tells, client, f"/job/{job}", body), what="the others to agree")
    found = {result["hostname"]: result for result in body["results"]}
    return found[node]["status"], found[node].get("error")


def tells(client: httpx.Client, path: str, body: object) -> bool:
    return bool(client.get(path).json() == body)


def ends(cluster: Cluster, jobs: dict[str, str], node: str = ONE) -> dict[str, str]:
    return {effect: end(cluster, job, node)[0] for effect, job in jobs.items()}


def at_broker(cluster: Cluster, work: Callable[[Client], Awaitable[T]]) -> T:
    """Do something at the broker over a connection of our own."""

    async def main() -> T:
        user, _, password = cluster.broker.credentials.read_text().partition(":")
        client = await nats.connect(cluster.broker.url, user=user, password=password)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(main())


def machine(cluster: Cluster, node: str = ONE) -> str:
    return (cluster.directory / f"agent-{node}" / "machine-id").read_text().strip()


def outbox(cluster: Cluster, node: str = ONE) -> int:
    """Return how many events stand in a node's ledger."""
    path = cluster.directory / f"agent-{node}" / "ledger.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        return int(ledger.execute("SELECT count(*) FROM outbox").fetchone()[0])


def answering(process: TowlineProcess, client: httpx.Client, nodes: int = 2) -> None:
    """Wait until a controller that was started again knows all nodes."""
    process.wait_for_output("answers at")

    def here() -> bool:
        known = client.get("/agent").json()["agents"]
        return [node["status"] for node in known].count("Ready") >= nodes

    wait_until(here, what="the nodes to be known")


# Agents


def test_an_agent_that_dies_before_it_begins_does_it_once_when_it_returns(
    system: Cluster, gate: Gate, name: str
) -> None:
    agent = system.agents[ONE]
    agent.signal(signal.SIGSTOP)
    try:
        jobs = asked(system.admin, ONE, name)

        async def delivered(client: Client) -> bool:
            consumer = await client.jetstream().consumer_info("JOBS", machine(system))
            return bool((consumer.num_ack_pending or 0) >= len(EFFECTS))

        wait_until(lambda: at_broker(system, delivered), what="all to be delivered")
    finally:
        agent.kill()
        agent.start()
    assert ends(system, jobs) == dict.fromkeys(EFFECTS, "ok")
    assert {counts(gate, name, effect) for effect in EFFECTS} == {(1, 1)}


def test_what_an_agent_dies_in_is_run_again_only_if_it_may_be(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    jobs = asked(system.admin, ONE, name)
    all_begun(gate, name)
    agent = system.agents[ONE]
    agent.kill()
    let_go(gate, name)
    agent.start()
    assert ends(system, jobs) == {"pass": "ok", "once": "failed", "look": "ok"}
    assert "interrupted" in str(end(system, jobs["once"])[1])
    assert [counts(gate, name, effect) for effect in EFFECTS] == [(2, 1), (1, 0), (2, 1)]


def test_an_end_that_an_agent_could_not_report_before_it_died_is_reported_when_it_returns(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    jobs = {effect: ask(system.admin, ONE, effect, name).json()["job_id"] for effect in EFFECTS[:2]}
    wait_until(lambda: all(counts(gate, name, effect)[0] for effect in jobs), what="both begun")
    known, agent = outbox(system), system.agents[ONE]
    system.broker.process.kill()
    try:
        let_go(gate, name)
        wait_until(lambda: outbox(system) >= max(known, 2), what="both ends in the ledger")
        wait_until(
            lambda: all(counts(gate, name, effect)[1] for effect in jobs), what="both to pass"
        )
    finally:
        agent.kill()
        system.broker.start()
        agent.start()
    assert ends(system, jobs) == dict.fromkeys(jobs, "ok")
    assert {counts(gate, name, effect) for effect in jobs} == {(1, 1)}


def test_an_end_that_an_agent_had_reported_before_it_died_stays_the_only_one(
    system: Cluster, gate: Gate, name: str
) -> None:
    job = ask(system.admin, ONE, "once", name).json()["job_id"]
    subject = {f"event.{machine(system)}.{job}.ended"}
    wait_until(
        lambda: system.broker.subjects("EVENTS", f"event.*.{job}.ended") == subject,
        what="the end at the broker",
    )
    agent = system.agents[ONE]
    agent.kill()
    told = system.broker.last_sequence("EVENTS")
    assert outbox(system) >= 1, "the ledger is to have it still, or this shows nothing"
    agent.start()
    # The next job's end comes after all that the ledger had.
    assert end(system, ask(system.admin, ONE, "pass", name).json()["job_id"]) == ("ok", None)
    assert system.broker.last_sequence("EVENTS") == told + 1
    assert end(system, job) == ("ok", None)
    assert counts(gate, name, "once") == (1, 1)


def test_a_read_for_any_node_ends_with_the_answer_of_who_takes_it_over(
    system: Cluster, gate: Gate, name: str
) -> None:
    gate.hold(f"{name}-look")
    job = ask(system.admin, "_any", "look", name).json()["job_id"]

    def started() -> bool:
        return bool(system.admin.get(f"/job/{job}").json()["status"] == "processing")

    wait_until(started, what="word that it was started")
    (first,) = (node for node in (ONE, TWO) if counts(gate, name, "look", node)[0])
    other_node = TWO if first == ONE else ONE
    system.agents[first].kill()
    try:
        gate.open(f"{name}-look")
        assert end(system, job, other_node) == ("ok", None)
        listed = system.admin.get("/job?limit=1").json()["items"][0]
        assert (listed["id"], listed["status"], listed["nodes"]) == (job, "completed", {"ok": 1})
    finally:
        system.agents[first].start()
        system.wait_here(first)


def test_an_agent_that_is_told_to_end_leaves_what_runs_to_its_next_start(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    jobs = {effect: ask(system.admin, ONE, effect, name).json()["job_id"] for effect in EFFECTS[:2]}
    wait_until(lambda: all(counts(gate, name, effect)[0] for effect in jobs), what="both begun")
    agent = system.agents[ONE]
    assert agent.stop() == 0
    assert {gate.stopped(f"{name}-{effect}", ONE) for effect in jobs} == {1}
    told = system.broker.subjects("EVENTS", f"event.{machine(system)}.*.ended")
    assert not any(job in subject for job in jobs.values() for subject in told)
    system.wait_away(ONE)
    later = ask(system.admin, ONE, "pass", f"{name}-later", prefer=LONG)
    assert later.json()["results"][0]["status"] == "pending"
    let_go(gate, name)
    agent.start()
    assert ends(system, jobs) == {"pass": "ok", "once": "failed"}
    assert [counts(gate, name, effect) for effect in jobs] == [(2, 1), (1, 0)]
    assert end(system, later.json()["job_id"]) == ("ok", None)
    assert counts(gate, f"{name}-later", "pass") == (1, 1)


def test_an_agent_that_is_told_to_end_delivers_what_it_knows_first(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    job = ask(system.admin, ONE, "once", name).json()["job_id"]
    wait_until(lambda: counts(gate, name, "once")[0] == 1, what="it to be begun")
    # Nothing more than a second's stall: the agent keeps its connection, and no answer comes.
    agent, known = system.agents[ONE], outbox(system)
    system.broker.process.signal(signal.SIGSTOP)
    try:
        let_go(gate, name)
        wait_until(lambda: outbox(system) >= max(known, 1), what="the end in the ledger")
        wait_until(lambda: counts(gate, name, "once")[1] == 1, what="it to pass")
        agent.signal(signal.SIGTERM)
    finally:
        system.broker.process.signal(signal.SIGCONT)
    assert agent.wait() == 0
    try:
        assert system.broker.subjects("EVENTS", f"event.*.{job}.ended")
        assert outbox(system) == 0
        assert end(system, job) == ("ok", None)
    finally:
        agent.start()
        system.wait_here(ONE)


# The broker


def test_what_a_broker_has_accepted_it_still_has_if_it_is_killed_at_once(
    system: Cluster, gate: Gate, name: str
) -> None:
    made = []
    for number in range(3):
        jobs = asked(system.admin, ONE, f"{name}-{number}")
        system.broker.process.kill()
        system.broker.start()
        made.append(jobs)
    for number, jobs in enumerate(made):
        assert ends(system, jobs) == dict.fromkeys(EFFECTS, "ok")
        for effect in EFFECTS[:2]:
            assert counts(gate, f"{name}-{number}", effect) == (1, 1)


class Doorkeeper:
    """Sits where the broker was, counts who knocks, and lets nobody in."""

    def __init__(self, port: int) -> None:
        self.knocks = 0
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._listen, name="doorkeeper")

    def __enter__(self) -> Self:
        self._socket.listen(100)
        self._since = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self.seconds = time.monotonic() - self._since

    def _listen(self) -> None:
        while True:
            try:
                visitor, _ = self._socket.accept()
            except OSError:
                return
            self.knocks += 1
            visitor.close()


def test_while_the_broker_is_away_the_work_goes_on_the_answers_are_honest_and_nobody_spins(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    jobs = asked(system.admin, ONE, name)
    all_begun(gate, name)
    parts = [system.controller, *system.controllers, *system.agents.values()]
    with ThreadPoolExecutor(2) as callers:
        waiting = callers.submit(ask, system.writer, TWO, "pass", name, prefer="wait=4")
        wait_until(lambda: counts(gate, name, "pass", TWO)[0] == 1, what="the request's task begun")
        system.broker.process.kill()
        try:
            with Doorkeeper(system.broker.port) as door:
                late = callers.submit(ask, system.admin, ONE, "once", f"{name}-late")
                let_go(gate, name)
                wait_until(
                    lambda: all(counts(gate, name, effect)[1] for effect in EFFECTS),
                    what="all to pass",
                )
                answer, refusal = waiting.result(), late.result()
                wait_until(lambda: door.knocks >= 5 * len(parts), what="further attempts")
        finally:
            system.broker.start()
    assert answer.status_code == 202
    assert answer.json()["results"][0]["status"] in ("pending", "running")
    assert refusal.status_code == 500
    assert "broker" in refusal.json()["error"]
    # Each pause is at least half of its bound, which doubles from 0.05 s.
    assert door.knocks <= len(parts) * (2 + math.log2(1 + door.seconds / 0.025))

    system.wait_here(ONE, TWO)
    assert ends(system, jobs) == dict.fromkeys(EFFECTS, "ok")
    assert end(system, answer.json()["job_id"], TWO) == ("ok", None)
    for effect, node in (("pass", ONE), ("once", ONE), ("pass", TWO)):
        assert counts(gate, name, effect, node) == (1, 1)
    # Nobody could have been told of it, and nobody was.
    refused(system.admin.get(refusal.headers["Location"]), 404)
    assert counts(gate, f"{name}-late", "once") == (0, 0)


# Controllers


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
    known = system.admin.get("/job", params={"limit": 9}).json()["items"]
    assert all(job["operation"]["data"]["name"].startswith(name) for job in known)
    let_go(gate, name)
    for job in known:
        assert system.ended(job["id"])["status"] == "completed"
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
        wait_until(partial(tells, other, f"/job?{query}", listed), what="the same jobs")


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


# A network that stalls


class Cable:
    """A relay, in a thread of its own."""

    def __init__(self, upstream: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cable")
        self.relay = Relay(upstream)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.relay.__aenter__(), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        leaving = self.relay.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(leaving, self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, what: Callable[[], None]) -> None:
        async def work() -> None:
            what()

        asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    def pull(self) -> None:
        """Let nothing through any more, and nobody know."""
        self.relay.silent = True
        self._do(self.relay.stall)

    def plug(self) -> None:
        """Let new connections through; old ones are known to be dead now."""
        self.relay.silent = False
        self._do(self.relay.cut)


@pytest.mark.skipif("TOWLINE_LONG_TESTS" not in os.environ, reason="takes half a minute")
def test_an_agent_that_is_cut_off_is_away_and_what_it_did_meanwhile_arrives_once(
    system: Cluster, gate: Gate, name: str
) -> None:
    far = "far"
    with Cable(system.broker.port) as cable:
        agent = TowlineProcess(
            *("agent", "--state", system.directory / f"agent-{far}", "--hostname", far),
            *("--nats", cable.relay.url, "--nats-credentials", system.broker.credentials),
            *("--engine", NO_ENGINE),
            logs=system.directory,
            name=f"agent-{far}",
            env={"TOWLINE_HEARTBEAT": "1s", **gate.env},
        )
        with agent:
            system.wait_here(far)
            hold(gate, name)
            running = asked(system.admin, far, name)
            all_begun(gate, name, far)
            cable.pull()
            system.wait_away(far)
            let_go(gate, name)
            wait_until(
                lambda: all(counts(gate, name, effect, far)[1] for effect in EFFECTS),
                what="all to pass unheard",
            )
            shared = {
                effect: ask(system.admin, "_all", effect, f"{name}-all", prefer=LONG).json()
                for effect in EFFECTS
            }
            told = {
                effect: {r["hostname"]: r["status"] for r in answer["results"]}
                for effect, answer in shared.items()
            }
            here = {ONE: "ok", TWO: "ok"}
            assert told == {
                "pass": {**here, far: "pending"},
                "once": {**here, far: "failed"},
                "look": {**here, far: "failed"},
            }
            assert agent.running
            connections = cable.relay.accepted
            wait_until(lambda: cable.relay.accepted > connections, what="the loss to be noticed")
            cable.plug()
            system.wait_here(far)
            assert ends(system, running, far) == dict.fromkeys(EFFECTS, "ok")
            assert counts(gate, name, "pass", far) == counts(gate, name, "once", far) == (1, 1)
            assert end(system, shared["pass"]["job_id"], far) == ("ok", None)
            for effect in EFFECTS[1:]:
                assert end(system, shared[effect]["job_id"], far)[0] == "failed"
            # Behind all that had waited for it.
            last = ask(system.admin, far, "pass", f"{name}-last", prefer="wait=30")
            assert last.json()["results"][0]["status"] == "ok"
            assert [counts(gate, f"{name}-all", effect, far) for effect in EFFECTS] == [
                (1, 1),
                (0, 0),
                (0, 0),
            ]


# Other versions


def test_what_a_newer_version_says_breaks_neither_side(
    system: Cluster, gate: Gate, other: httpx.Client, name: str
) -> None:
    known, target = asked(system.admin, ONE, name), machine(system)
    assert ends(system, known) == dict.fromkeys(EFFECTS, "ok")
    two = machine(system, TWO)
    parts = [system.controller, *system.controllers, *system.agents.values()]
    pids = [part.pid for part in parts]

    async def say(client: Client) -> None:
        stream = client.jetstream()
        now, newer = time.time(), {"newer": {"than": ["we", 7]}}

        async def publish(subject: str, *bodies: object) -> None:
            for body in bodies:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                await stream.publish(subject, data)

        async def newest(bucket: str, key: str) -> dict[str, Any]:
            message = await stream.get_last_msg(f"KV_{bucket}", f"$KV.{bucket}.{key}")
            return dict(json.loads(message.data or b"{}"))

        def job(identity: str, operation: str, **parameters: object) -> dict[str, Any]:
            return {
                **{"id": f"{name}-{identity}", "operation": operation, "parameters": parameters},
                **{"target": "_all", "caller": "newer", "created": now, "expires": now + 60},
                **newer,
            }

        unreadable: tuple[object, ...] = (b"", b"\x00\x01", b"[]", {}, {"v": 2, **newer})
        for subject in (f"job.node.{target}", "job.all", "job.any.node", "job.group.x", "job.node"):
            await publish(subject, *unreadable)
            await publish(subject, job("unknown", "gate.newer", gate=1))
            await publish(subject, job("cancel", "job.cancel"), job("stop", "job.cancel", jobs=[]))
        await publish("job.all", job("known", "gate.pass", name=f"{name}-newer-pass"))
        event = {"machine": target, "hostname": ONE, "time": now, **newer}
        for identity in (*known.values(), f"{name}-nothing"):
            for who in (target, two, "_", "stranger"):
                said = {**event, "job": identity, "machine": who, "kind": "newer"}
                await publish(f"event.{who}.{identity}.newer", said)
        await publish("event.newer", *unreadable)
        await publish("event.newer.kind.of.subject", *unreadable)
        for bucket in ("nodes", "heartbeats", "states"):
            await publish(f"$KV.{bucket}.newer", *unreadable)
            await publish(f"$KV.{bucket}.a.b", *unreadable)
        for bucket in ("nodes", "heartbeats"):
            await publish(f"$KV.{bucket}.{target}", {**await newest(bucket, target), **newer})
            await publish(f"$KV.{bucket}.{two}", *unreadable)
        await publish(f"$KV.states.{target}", newer)
        await publish(f"$KV.states.{two}", *unreadable)
        for who in (target, two):
            await client.publish(f"state.{who}", b"newer")
        await client.flush()

    at_broker(system, say)
    try:
        for client in (system.admin, other):
            for node in (ONE, TWO):
                for effect in EFFECTS:
                    answer = ask(client, node, effect, f"{name}-after", prefer="wait=30")
                    assert answer.json()["results"][0]["status"] == "ok", answer.text
            assert client.get("/job?limit=100").status_code == 200
            assert client.get("/job?caller=newer&limit=100").json()["total_items"] >= 2
        assert {counts(gate, f"{name}-newer", "pass", node) for node in (ONE, TWO)} == {(1, 1)}
        assert ends(system, known) == dict.fromkeys(EFFECTS, "ok")
        for job in known.values():
            for client in (system.admin, other):
                assert client.get(f"/job/{job}").json()["nodes"] == {"ok": 1}
        assert [part.pid for part in parts if part.running] == pids
        # Nor do they come to grief over it when they are started again.
        for part in (*system.controllers, *system.agents.values()):
            assert part.stop() == 0
            part.start()
        answering(system.controllers[0], other)
        for node in (ONE, TWO):
            again = ask(other, node, "pass", f"{name}-again", prefer="wait=30")
            assert again.json()["results"][0]["status"] == "ok"
    finally:
        for part in parts:
            if not part.running:
                part.start()
