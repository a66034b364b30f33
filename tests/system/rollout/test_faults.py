"""Jobs in waves while parts die and stall: each node has one turn, whoever gives it."""

import asyncio
import json
import random
import re
import signal
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from tests.system.rollout.waves import (
    NODES,
    begun,
    hold,
    kinds,
    let_go,
    made,
    now,
    steer,
    wait_begun,
)
from tests.testing.answers import statuses
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import TowlineProcess, wait_until
from tests.testing.signing import SIGNER
from towline.broker.connection import Connection
from towline.broker.jetstream import JetStream
from towline.broker.journal import Journal
from towline.broker.settings import Settings
from towline.controller.fleet import Fleet
from towline.controller.jobs.index import Index
from towline.controller.jobs.indexer import Indexer
from towline.controller.jobs.open import OpenJobs
from towline.controller.presence import Presence
from towline.controller.rollout.decisions import Decisions, decision
from towline.controller.rollout.lease import Lease
from towline.controller.rollout.releases import Releases
from towline.controller.rollout.runner import Runner
from towline.operation import NODE
from towline.wire.credential import Supply
from towline.wire.event import LEAVE, RELEASED, TAKEN_BACK, NamedNode
from towline.wire.job import CONVERGE, WAITS, Job, PlannedNode, new_id
from towline.wire.rollout import Waves

TAKEN = "rollouts taken over"


def controllers(system: Cluster) -> list[TowlineProcess]:
    return [system.controller, *system.controllers]


def driver(system: Cluster) -> TowlineProcess:
    """Return the controller that took over last."""

    def taken(process: TowlineProcess) -> str:
        lines = [line for line in process.stderr.splitlines() if TAKEN in line]
        return str(json.loads(lines[-1])["time"]) if lines else ""

    return max(controllers(system), key=taken)


def back(system: Cluster, process: TowlineProcess) -> None:
    process.start()
    process.wait_for_output("answers at")
    system.wait_here(*NODES)


def all_passed_once(system: Cluster, gate: Gate, name: str, job: str) -> dict[str, Any]:
    ended = system.ended(job)
    assert statuses(ended) == dict.fromkeys(NODES, "ok")
    assert begun(gate, name) == list(NODES)
    released = [m["message"] for m in ended["timeline"] if m["event"] == "released"]
    assert sorted(re.findall(r"a\d", " ".join(released))) == list(NODES)
    for client in system.others:
        wait_until(partial(same, client, job, ended))
    return ended


def most_at_a_time(job: dict[str, Any]) -> int:
    """Return how many nodes were under way together at most."""
    going = most = 0
    for moment in job["timeline"]:
        if moment["event"] == "released":
            going += int(moment["message"].partition(" ")[0])
        going -= moment["event"] == "completed"
        most = max(most, going)
    return most


class Author:
    """Writes into the journal what a controller does that dies at some point."""

    def __init__(self, system: Cluster, name: str) -> None:
        self._system = system
        moment = time.time()
        known = system.admin.get("/agent").json()["agents"]
        self._machines = {node["hostname"]: node["machine_id"] for node in known}
        self.job = Job(
            *(new_id(), "gate.pass", {"name": name}, "_all", "tests", moment, moment + 600),
            effect=CONVERGE,
            plan=[PlannedNode(self._machines[each], each, WAITS) for each in NODES],
            waves=Waves(max_parallel="2"),
            nodes=len(NODES),
            requires=NODE,
        )

    def write(self, *decided: tuple[str, tuple[str, ...]]) -> None:
        """Make the job, and decide about some nodes, one group after another."""
        asyncio.run(self._write(decided))

    async def _write(self, decided: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
        broker = self._system.broker
        async with Connection(Settings([broker.url], broker.credentials), "tests") as connection:
            log = Journal(JetStream(connection))
            await log.add_job(self.job)
            last = 0
            for kind, hostnames in decided:
                nodes = [NamedNode(self._machines[each], each) for each in hostnames]
                last = await log.decide(decision(self.job.id, kind, time.time(), nodes=nodes), last)


@pytest.mark.parametrize(
    "decided",
    [
        (),
        ((RELEASED, ("a1", "a2")),),
        ((RELEASED, ("a1", "a2")), (LEAVE, ("a1",))),
        ((RELEASED, ("a1", "a2")), (TAKEN_BACK, ("a1",)), (RELEASED, ("a3",))),
        ((RELEASED, ("a1", "a2")), (LEAVE, ("a1", "a2"))),
    ],
    ids=["made", "released", "one-has-leave", "one-was-taken-back", "all-have-leave"],
)
def test_a_controller_goes_on_wherever_another_one_has_died(
    system: Cluster, gate: Gate, name: str, decided: tuple[tuple[str, tuple[str, ...]], ...]
) -> None:
    author = Author(system, name)
    for controller in controllers(system):
        controller.stop()
    try:
        author.write(*decided)
    finally:
        for controller in controllers(system):
            controller.start()
        for controller in controllers(system):
            controller.wait_for_output("answers at")
    system.wait_here(*NODES)
    ended = system.ended(author.job.id)
    assert statuses(ended) == dict.fromkeys(NODES, "ok")
    assert begun(gate, name) == list(NODES)


def test_another_controller_drives_on_when_the_driver_is_killed(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=2")
    wait_begun(gate, name, "a1", "a2")
    first = driver(system)
    first.kill()
    let_go(gate, name, "a1", "a2", "a3")
    wait_until(lambda: len(begun(gate, name)) > 2, what="another controller to go on")
    assert first is not driver(system)
    back(system, first)
    let_go(gate, name)
    all_passed_once(system, gate, name, job)


def test_a_driver_that_stalls_and_wakes_beside_another_releases_nobody_twice(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=1")
    wait_begun(gate, name, "a1")
    stalled = driver(system)
    others = [each for each in controllers(system) if each is not stalled]
    before = [each.stderr.count(TAKEN) for each in others]
    stalled.signal(signal.SIGSTOP)
    try:
        let_go(gate, name, "a1")
        wait_begun(gate, name, "a1", "a2")
        assert [each.stderr.count(TAKEN) for each in others] == [each + 1 for each in before]
    finally:
        stalled.signal(signal.SIGCONT)
    let_go(gate, name, "a2")
    wait_begun(gate, name, "a1", "a2", "a3")
    let_go(gate, name)
    system.wait_here(*NODES)
    assert most_at_a_time(all_passed_once(system, gate, name, job)) == 1


class Reckless:
    """A controller's part that drives all the time, whoever holds the lease."""

    def __init__(self, system: Cluster, directory: Path) -> None:
        self._system = system
        self._directory = directory
        self._ready = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        broker = self._system.broker
        settings = Settings([broker.url], broker.credentials)
        with Index(self._directory / "index.sqlite") as index:
            async with (
                Connection(settings, "reckless") as connection,
                Connection(Settings([broker.url], broker.logins.nodes), "reckless") as nodes,
                asyncio.TaskGroup() as group,
            ):
                jetstream = JetStream(connection)
                journal, fleet, jobs = Journal(jetstream), Fleet(), OpenJobs()
                presence = Presence(fleet, nodes, jetstream, SIGNER)
                indexer = Indexer(jetstream, index, jobs, retention=86400)
                able = asyncio.Event()
                able.set()
                runner = Runner(
                    *(jobs, fleet, Decisions(journal, jobs, indexer)),
                    Releases(nodes, SIGNER, fleet, no_supplies, lambda job: None),
                    Taken(jetstream, "reckless"),
                    able,
                )
                tasks = [group.create_task(part.run()) for part in (indexer, presence, runner)]
                while len(list(fleet.here())) < len(NODES):
                    await asyncio.sleep(0.02)
                self._ready.set()
                while not self._over.is_set():
                    await asyncio.sleep(0.02)
                for task in tasks:
                    task.cancel()


async def no_supplies(job: Job, machines: Sequence[str]) -> dict[str, Supply]:
    return {}


class Taken(Lease):
    """A lease that its holder believes to have."""

    @property
    def valid(self) -> bool:
        return True

    async def take(self) -> bool:
        return True

    async def give_back(self) -> None:
        pass


def test_drivers_that_know_of_no_lease_release_nobody_twice_nor_too_many(
    system: Cluster, gate: Gate, name: str, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with Reckless(system, tmp_path / "a"), Reckless(system, tmp_path / "b"):
        for number in range(5):
            job = made(system.admin, f"{name}-{number}", "max_parallel=1")
            ended = all_passed_once(system, gate, f"{name}-{number}", job)
            assert most_at_a_time(ended) == 1
            assert kinds(ended).count("released") == len(NODES)


def test_a_broker_that_is_killed_amid_a_wave_costs_no_turn(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=2&canary=1")
    wait_begun(gate, name, "a1")
    system.broker.process.kill()
    let_go(gate, name, "a1", "a2")
    system.broker.start()
    wait_begun(gate, name, "a1", "a2", "a3", "a4")
    let_go(gate, name)
    system.wait_here(*NODES)
    all_passed_once(system, gate, name, job)


def test_a_controller_that_is_asked_to_stop_leaves_the_rollout_to_another(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=1")
    wait_begun(gate, name, "a1")
    first = driver(system)
    first.stop()
    let_go(gate, name)
    wait_until(lambda: gate.passed(name, "a5") == 1)
    back(system, first)
    all_passed_once(system, gate, name, job)


def test_whenever_it_is_cancelled_each_node_has_one_end_and_a_true_one(
    system: Cluster, gate: Gate, name: str
) -> None:
    chance = random.Random(1)
    clients = [system.admin, *system.others]
    for number in range(20):
        each = f"{name}-{number}"
        job = made(chance.choice(clients), each, f"max_parallel={chance.randint(1, 3)}")
        if number % 2:
            steer(chance.choice(clients), job, "pause")
        time.sleep(chance.uniform(0, 0.06))
        answer = chance.choice(clients).post(f"/job/{job}/cancel", headers={"Prefer": "wait=30"})
        assert answer.status_code in (200, 409), answer.text
        system.ended(job)
        # That it was cancelled may be stored behind its last end, and not be known to all yet.
        wait_until(partial(agreed, system, job), what="controllers that say the same")
        ended = now(system, job)
        for node, status in statuses(ended).items():
            assert status in ("ok", "cancelled")
            runs = (gate.begun(each, node), gate.passed(each, node), gate.stopped(each, node))
            assert runs in ({"ok": [(1, 1, 0)], "cancelled": [(0, 0, 0), (1, 0, 1)]}[status])


def same(client: Any, job: str, body: dict[str, Any]) -> bool:
    return bool(client.get(f"/job/{job}").json() == body)


def agreed(system: Cluster, job: str) -> bool:
    body = now(system, job)
    return all(same(client, job, body) for client in system.others)
