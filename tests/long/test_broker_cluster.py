"""A NATS cluster of three servers, of which some die, stall or are cut off under load."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.testing.cluster import Cluster, NodePlan
from tests.testing.gate import Gate
from tests.testing.nats_cluster import SIZE, NatsCluster
from tests.testing.process import wait_until

NODES = ("one", "two", "three")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def _replicated(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Cluster]:
    directory: Path = tmp_path_factory.mktemp("replicated")
    plans = [NodePlan(name) for name in NODES]
    env = {**gate.env, "TOWLINE_REPLICAS": "3"}
    with Cluster(directory, plans, env, broker=NatsCluster) as cluster:
        yield cluster


@pytest.fixture
def replicated(_replicated: Cluster, servers: NatsCluster) -> Iterator[Cluster]:
    """Three nodes and a controller on three servers, whole at the start of each test."""
    servers.wait_whole()
    _replicated.wait_here(*NODES)
    yield _replicated
    for server in servers.servers:
        server.signal(signal.SIGCONT)
    for number in range(SIZE):
        servers.rejoin(number)
    servers.start()


@pytest.fixture
def servers(_replicated: Cluster) -> NatsCluster:
    assert isinstance(_replicated.broker, NatsCluster)
    return _replicated.broker


FROZEN = 30.0
"""Seconds that a server is held, at least."""


class Load:
    """Jobs that run once, one after the other, for as long as it is entered.

    Attributes:
        accepted: of each job that was accepted, its id, its name and what it was for.
        refused: what else was answered.
    """

    def __init__(self, cluster: Cluster, gate: Gate, name: str) -> None:
        self._cluster, self._gate, self._name = cluster, gate, name
        self._thread = threading.Thread(target=self._run)
        self._ends = threading.Event()
        self.accepted: list[tuple[str, str, str]] = []
        self.refused: list[httpx.Response] = []
        self.names: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.is_set():
            name = f"{self._name}-{len(self.names)}"
            target = (*NODES, "_any", "_all")[len(self.names) % 5]
            self.names.append(name)
            answer = self._cluster.admin.post(
                f"/node/{target}/gate/once", json={"name": name}, headers={"Prefer": "wait=3"}
            )
            if answer.status_code == 202:
                self.accepted.append((answer.json()["job_id"], name, target))
            else:
                self.refused.append(answer)
                time.sleep(0.05)

    def goes_on(self) -> None:
        """Wait until jobs for each kind of target that were asked for from now on have ended."""
        first = len(self.names)

        def all_ended() -> bool:
            ended = set()
            for _, name, target in list(self.accepted):
                if int(name.rpartition("-")[2]) > first:
                    hosts = NODES if target in ("_all", "_any") else (target,)
                    done = [host for host in hosts if self._gate.passed(name, host)]
                    if done == list(hosts) or (done and target == "_any"):
                        ended.add(target)
            return len(ended) == 5

        wait_until(all_ended, timeout=60, what="work to go on on every kind of target")

    def check(self) -> None:
        """See that each job that was accepted ended once, and that none ran twice anywhere."""
        for job_id, name, target in self.accepted:
            job = self._cluster.ended(job_id)
            shown = {result["hostname"]: result["status"] == "ok" for result in job["results"]}
            assert len(shown) == len(job["results"])
            if target != "_any":
                assert set(shown) == set(NODES if target == "_all" else [target])
            # ONCE jobs may expire or fail; what is said of them must be so.
            assert shown == {host: self._gate.passed(name, host) == 1 for host in shown}, job
        for name in self.names:
            runs = [self._gate.begun(name, host) for host in NODES]
            assert max(runs) <= 1
            number = int(name.rpartition("-")[2])
            if number % 5 != 4:
                assert sum(runs) <= 1
        for answer in self.refused:
            assert answer.status_code == 500, answer.text
            assert any(word in answer.text for word in ("broker", "index", "reachable"))


def test_each_server_in_turn_may_be_killed_and_return(
    replicated: Cluster, servers: NatsCluster, gate: Gate
) -> None:
    with Load(replicated, gate, "in-turn") as load:
        for server in servers.servers:
            server.kill()
            load.goes_on()
            servers.start()
            servers.wait_whole()
    load.check()


@pytest.mark.smoke
def test_the_leader_may_be_killed_and_return(
    replicated: Cluster, servers: NatsCluster, gate: Gate
) -> None:
    with Load(replicated, gate, "killed") as load:
        leader = servers.leader()
        assert leader is not None
        servers.servers[leader].kill()
        load.goes_on()
        servers.start()
        servers.wait_whole()
        load.goes_on()
    load.check()


def test_the_leader_may_freeze_and_thaw(
    replicated: Cluster, servers: NatsCluster, gate: Gate
) -> None:
    with Load(replicated, gate, "frozen") as load:
        leader = servers.leader()
        assert leader is not None
        servers.servers[leader].signal(signal.SIGSTOP)
        thaws = time.monotonic() + FROZEN
        load.goes_on()
        time.sleep(max(0.0, thaws - time.monotonic()))
        servers.servers[leader].signal(signal.SIGCONT)
        servers.wait_whole()
        load.goes_on()
    load.check()


@pytest.mark.smoke
def test_all_servers_may_be_killed_together(
    replicated: Cluster, servers: NatsCluster, gate: Gate
) -> None:
    with Load(replicated, gate, "together") as load:
        for server in servers.servers:
            server.kill()
        accepted = len(load.accepted)
        servers.start()
        servers.wait_whole()
        load.goes_on()
        assert len(load.accepted) > accepted
    load.check()


def test_the_leader_may_be_cut_off_from_the_others_and_return(
    replicated: Cluster, servers: NatsCluster, gate: Gate
) -> None:
    with Load(replicated, gate, "cut-off") as load:
        leader = servers.leader()
        assert leader is not None
        servers.isolate(leader)
        load.goes_on()
        servers.rejoin(leader)
        servers.wait_whole()
        load.goes_on()
    load.check()
