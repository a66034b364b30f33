"""Nodes whose clock is an hour off: nothing is lost, run twice, or begun when nobody wants it."""

import itertools
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.testing.cluster import Cluster, NodePlan
from tests.testing.gate import Gate
from tests.testing.process import TowlineProcess, wait_until

BEHIND, RIGHT, AHEAD = "behind", "right", "ahead"
HOURS = {BEHIND: -1, RIGHT: 0, AHEAD: 1}
LIBRARIES = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
_names = (f"clock-{number}" for number in itertools.count())

pytestmark = pytest.mark.skipif(not LIBRARIES, reason="needs the package faketime")


def forget_killed_processes() -> None:
    """Remove what faketime left in shared memory for processes that were killed.

    It is named after their ids: a new process that gets such an id would end at its start.
    """
    for left in Path("/dev/shm").glob("*faketime_s*_*"):
        if not Path("/proc", left.name.rpartition("_")[2]).exists():
            left.unlink(missing_ok=True)


class ShiftedCluster(Cluster):
    """A cluster in which some nodes' clocks are off, and they alone."""

    def add_node(self, plan: NodePlan, *, nats: str | None = None) -> TowlineProcess:
        before = self._env
        if HOURS[plan.hostname]:
            self._env = {
                **before,
                "LD_PRELOAD": str(LIBRARIES[0]),
                "FAKETIME": f"{HOURS[plan.hostname]:+}h",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        try:
            return super().add_node(plan, nats=nats)
        finally:
            self._env = before


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Cluster]:
    forget_killed_processes()
    nodes = [NodePlan(hostname) for hostname in HOURS]
    with ShiftedCluster(tmp_path_factory.mktemp("clocks"), nodes, gate.env) as cluster:
        yield cluster
    forget_killed_processes()


def time_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_jobs_run_once_on_nodes_whatever_their_clocks(cluster: Cluster, gate: Gate) -> None:
    for path in ("pass", "once"):
        name = next(_names)
        answer = cluster.admin.post(f"/node/_all/gate/{path}", json={"name": name})
        found = {result["hostname"]: result["status"] for result in answer.json()["results"]}
        assert found == dict.fromkeys(HOURS, "ok"), answer.text
        assert [gate.begun(name, hostname) for hostname in HOURS] == [1, 1, 1]
    looked = cluster.admin.get(f"/node/_all/gate?name={next(_names)}").json()["results"]
    assert {result["hostname"]: result["status"] for result in looked} == dict.fromkeys(HOURS, "ok")


@pytest.mark.parametrize("hostname", HOURS)
def test_a_job_expires_when_its_caller_said_and_not_by_the_clock_of_its_node(
    cluster: Cluster, gate: Gate, hostname: str
) -> None:
    kept, late = next(_names), next(_names)
    agent = cluster.agents[hostname]
    agent.kill()
    cluster.wait_away(hostname)

    def ask(name: str, expires: str) -> str:
        url = f"/node/{hostname}/gate/pass?expires={expires}"
        job_id = cluster.admin.post(url, json={"name": name}).json()["job_id"]
        return str(job_id)

    wanted, unwanted = ask(kept, "10m"), ask(late, "1s")
    assert cluster.ended(unwanted)["results"][0]["status"] == "expired"
    agent.start()
    assert cluster.ended(wanted)["status"] == "completed"
    cluster.wait_here(hostname)
    assert (gate.begun(kept, hostname), gate.begun(late, hostname)) == (1, 0)


@pytest.mark.parametrize("hostname", HOURS)
def test_what_was_interrupted_runs_again_in_time_whatever_the_clock(
    cluster: Cluster, gate: Gate, hostname: str
) -> None:
    name = next(_names)
    gate.hold(name)
    answer = cluster.admin.post(
        f"/node/{hostname}/gate/pass?expires=10m",
        json={"name": name},
        headers={"Prefer": "wait=0"},
    )
    wait_until(lambda: gate.begun(name, hostname) == 1, what="the begin")
    cluster.agents[hostname].kill()
    cluster.agents[hostname].start()
    wait_until(lambda: gate.begun(name, hostname) == 2, what="the second begin")
    gate.open(name)
    assert cluster.ended(answer.json()["job_id"])["status"] == "completed"
    cluster.wait_here(hostname)
