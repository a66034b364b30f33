"""Jobs in waves by the command line and the Python client."""

import json
from types import ModuleType

import msgspec

from tests.system.rollout.waves import NODES, hold, let_go, wait_begun
from tests.testing.cluster import Cluster
from tests.testing.command import CommandLine, rows
from tests.testing.gate import Gate
from towline.client import AsyncClient, Client


def test_a_command_is_done_in_waves_and_waits_for_all(
    system: Cluster, gate: Gate, towline: CommandLine, name: str
) -> None:
    gate.damage(f"{name}@a2")
    options = ("--max-parallel", "1", "--canary", "20%", "--max-failures", "0")
    done = towline("gate", "pass", name, "--on", "_all", *options)
    assert done.status == 1
    assert "not done yet" not in done.stderr
    table = done.stdout.split("\n\n")[0].partition("\n")[2]
    found = {row["NODE"]: row["STATUS"] for row in rows(table)}
    assert found == dict(zip(NODES, ["ok", "failed", *3 * ["cancelled"]], strict=True))
    gate.mend(f"{name}@a2")
    job = json.loads(towline("jobs", "--limit", "1", "-o", "json").stdout)["items"][0]["id"]
    again = towline("retry", job, "--max-parallel", "2")
    assert again.status == 0
    assert again.stdout.startswith("4 ok")
    wrong = towline("gate", "pass", name, "--on", "_all", "--canary", "none")
    assert (wrong.status, "--canary: 'none'" in wrong.stderr) == (2, True)


def test_a_job_is_paused_and_resumed_by_commands(
    system: Cluster, gate: Gate, towline: CommandLine, name: str
) -> None:
    hold(gate, name)
    at_once = towline(
        *("gate", "pass", name, "--on", "_all", "--max-parallel", "1", "--wait", "1ms")
    )
    assert "not done yet" in at_once.stderr
    job = system.admin.get("/job?limit=1").json()["items"][0]["id"]
    wait_begun(gate, name, "a1")
    assert towline("pause", job).stdout.startswith("Paused: 4 of 5 nodes wait")
    assert "paused by tests" in towline("job", job).stdout
    again = towline("pause", job)
    assert (again.status, "paused already" in again.stderr) == (2, True)
    let_go(gate, name)
    assert json.loads(towline("resume", job, "-o", "json").stdout)["job_id"] == job
    assert towline("job", job, "--follow").status == 0


def test_the_client_asks_for_waves_and_steers_them(
    system: Cluster, gate: Gate, name: str, operations: ModuleType
) -> None:
    hold(gate, name)
    with Client(system.url, system.token("admin")) as client:
        asked = client.with_options(wait=0, max_parallel=1, canary="20%", max_failures=0)
        job = asked.run(operations.pass_, on="_all", name=name)
        wait_begun(gate, name, "a1")
        assert client.pause(job.id).job_id == job.id
        found = client.job(job.id)
        assert msgspec.to_builtins(found.waves) == {
            "max_parallel": "1",
            "canary": "20%",
            "max_failures": "0",
        }
        assert found.paused is not None
        assert found.paused.by == "tests"
        let_go(gate, name)
        assert client.resume(job.id).message.startswith("Resumed")
        assert job.wait(30).succeeded


async def test_the_asyncio_client_asks_for_waves_and_steers_them(
    system: Cluster, gate: Gate, name: str, operations: ModuleType
) -> None:
    hold(gate, name)
    async with AsyncClient(system.url, system.token("admin")) as client:
        asked = client.with_options(wait=1, max_parallel=2)
        job = await asked.run(operations.pass_, on="_all", name=name)
        assert [result.waits for result in job.results] == [None, None, *3 * ["max_parallel"]]
        await client.pause(job.id)
        await client.resume(job.id)
        let_go(gate, name)
        assert (await job.wait(30)).succeeded
