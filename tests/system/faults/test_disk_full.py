"""Disks that are full: it is said, nothing is corrupt, and work goes on when there is room."""

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.testing.broker import Broker
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.gate import Gate
from tests.testing.process import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
ONE, TWO = "one", "two"


class SmallDisk:
    """A file system in memory, of 48 MiB, mounted at `path` for as long as it is entered."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._filler = path / "filler"

    def __enter__(self) -> Self:
        self._path.mkdir(mode=0o700)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs", self._path], check=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self._path], check=True)

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65536))

    def empty(self) -> None:
        """Make room again."""
        self._filler.unlink()


class BrokerOnSmallDisk(Broker):
    """A broker that believes in more room than it has."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        path = directory / "nats.conf"
        path.write_text(
            path.read_text().replace("jetstream {", "jetstream { max_file_store: 16GB,")
        )


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[dict[str, SmallDisk]]:
    directory = tmp_path_factory.mktemp("small")
    names = {"broker": "data", "controller": "controller", "agent": f"agent-{ONE}"}
    with contextlib.ExitStack() as stack:
        found: dict[str, Any] = {}
        for part, name in names.items():
            found[part] = stack.enter_context(SmallDisk(directory / name))
        found["cluster"] = stack.enter_context(
            Cluster(directory, [NodePlan(ONE), NodePlan(TWO)], gate.env, broker=BrokerOnSmallDisk)
        )
        yield found


@pytest.fixture(scope="module")
def cluster(disks: dict[str, Any]) -> Cluster:
    found: Cluster = disks["cluster"]
    return found


def ask(cluster: Cluster, target: str, name: str, wait: int = 30) -> httpx.Response:
    return cluster.admin.post(
        f"/node/{target}/gate/once", json={"name": name}, headers={"Prefer": f"wait={wait}"}
    )


def ready(cluster: Cluster) -> str:
    """Return what /health/ready says is wrong, or ""."""
    return str(cluster.anyone.get("/health/ready").json().get("error", ""))


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        return bool(database.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def test_a_node_whose_disk_is_full_says_so_and_works_when_there_is_room(
    cluster: Cluster, disks: dict[str, SmallDisk], gate: Gate
) -> None:
    def troubles() -> dict[str, str]:
        return dict((cluster.node(ONE) or {}).get("troubles", {}))

    disks["agent"].fill()
    wait_until(lambda: bool(troubles()), what="the node to say so")
    assert troubles() == {"node": "the ledger can't be written: No space left on device"}
    (waiting,) = ask(cluster, ONE, "full", wait=1).json()["results"]
    assert waiting["status"] == "pending"
    for number in range(4):
        (result,) = ask(cluster, "_any", f"any-{number}").json()["results"]
        assert (result["hostname"], result["status"]) == (TWO, "ok")

    disks["agent"].empty()
    wait_until(lambda: gate.passed("full", ONE) == 1, what="the job to run")
    wait_until(lambda: not troubles(), what="the node to be well")
    assert gate.begun("full", ONE) == 1
    assert sound(cluster.directory / f"agent-{ONE}" / "ledger.sqlite")


def test_a_controller_whose_disk_is_full_says_so_and_knows_all_when_there_is_room(
    cluster: Cluster, disks: dict[str, SmallDisk], gate: Gate
) -> None:
    disks["controller"].fill()
    jobs: list[str] = []

    def reported() -> bool:
        jobs.append(ask(cluster, TWO, f"index-{len(jobs)}").json()["job_id"])
        return "the index can't be written: " in ready(cluster)

    wait_until(reported, what="the controller to say so")
    answer = cluster.admin.get(f"/job/{jobs[-1]}")
    assert answer.status_code == 500
    assert "index" in answer.json()["error"], answer.text

    disks["controller"].empty()
    wait_until(lambda: "index" not in ready(cluster), what="the controller to be well")
    for number, job_id in enumerate(jobs):
        assert cluster.job(job_id)["status"] == "completed"
        assert gate.begun(f"index-{number}", TWO) == 1
    assert sound(cluster.directory / "controller" / "index.sqlite")


def test_a_broker_whose_disk_is_full_refuses_and_loses_nothing_that_it_took(
    cluster: Cluster, disks: dict[str, SmallDisk], gate: Gate
) -> None:
    disks["broker"].fill()
    jobs: dict[str, str] = {}
    refusals: list[httpx.Response] = []

    def refused() -> bool:
        name = f"broker-{len(jobs)}"
        answer = ask(cluster, TWO, name, wait=1)
        if answer.status_code == 202:
            jobs[name] = answer.json()["job_id"]
        else:
            refusals.append(answer)
        return bool(refusals)

    wait_until(refused, what="a refusal")
    assert "broker" in refusals[0].json()["error"]
    assert "the broker did not store what it was given last" in ready(cluster)

    disks["broker"].empty()
    # The server gives a stream up that it could not write, until it is started again.
    cluster.broker.stop()
    cluster.broker.start()
    wait_until(lambda: ask(cluster, "_any", "room").status_code == 202, what="work to go on")
    cluster.wait_here(ONE, TWO)
    assert "broker" not in ready(cluster)
    for name, job_id in jobs.items():
        assert cluster.ended(job_id)["status"] == "completed"
        assert gate.begun(name, TWO) == 1
