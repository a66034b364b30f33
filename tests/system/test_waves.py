"""Jobs in waves: so many nodes at a time, a few first, a stop when too many fail, a pause."""

import importlib
import itertools
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.testing.answers import refused
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.command import CommandLine, rows
from tests.testing.gate import MODULE, Gate
from tests.testing.process import wait_until
from towline.client import AsyncClient, Client
from towline.operation import catalog

NODES = ("a1", "a2", "a3", "a4", "a5")
BOTH = "kind:both"
_names = (f"wave{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds operations back."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def system(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Five nodes and two controllers; whatever a test takes away it brings back."""
    plans = [NodePlan(name, labels=(BOTH,) if name in NODES[:2] else ()) for name in NODES]
    with Cluster(tmp_path_factory.mktemp("waves"), plans, env=gate.env) as cluster:
        cluster.add_controller()
        yield cluster


@pytest.fixture
def name(gate: Gate) -> Iterator[str]:
    """What nothing has passed under yet; whatever is held under it is let go with the test."""
    name = next(_names)
    yield name
    for held in gate.directory.glob(f"{name}*.held"):
        held.unlink()


def ask(
    client: httpx.Client,
    name: str,
    query: str,
    *,
    target: str = "_all",
    effect: str = "pass",
    **headers: str,
) -> httpx.Response:
    """Ask for a passage in waves."""
    url, headers = f"/node/{target}/gate", {"Prefer": "respond-async", **headers}
    if effect == "look":
        return client.get(f"{url}?name={name}&{query}", headers=headers)
    return client.post(f"{url}/{effect}?{query}", json={"name": name}, headers=headers)


def made(client: httpx.Client, name: str, query: str, **more: Any) -> str:
    """Ask for a passage in waves; return the job's id."""
    answer = ask(client, name, query, **more)
    assert answer.is_success, answer.text
    return str(answer.json()["job_id"])


def begun(gate: Gate, name: str) -> list[str]:
    """Return the nodes that have begun, each as often as it has."""
    return [node for node in NODES for _ in range(gate.begun(name, node))]


def hold(gate: Gate, name: str, *nodes: str) -> None:
    """Hold each of these nodes back by itself, all where none is named."""
    for node in nodes or NODES:
        gate.hold(f"{name}@{node}")


def let_go(gate: Gate, name: str, *nodes: str) -> None:
    for node in nodes or NODES:
        gate.open(f"{name}@{node}")


def wait_begun(gate: Gate, name: str, *nodes: str) -> None:
    wait_until(lambda: begun(gate, name) == list(nodes), what=f"{nodes} to have begun {name}")


def told(job: dict[str, Any]) -> dict[str, str]:
    """Return each node's status."""
    return {result["hostname"]: result["status"] for result in job["results"]}


def reasons(job: dict[str, Any]) -> dict[str, str]:
    return {result["hostname"]: result.get("error", "") for result in job["results"]}


def now(cluster: Cluster, job: str) -> dict[str, Any]:
    return cluster.job(job, wait=0)


def kinds(job: dict[str, Any]) -> list[str]:
    return [moment["event"] for moment in job["timeline"]]


def declined(answer: httpx.Response, status: int, *texts: str) -> None:
    """See that an answer is an error that says all of this."""
    said = refused(answer, status)
    for text in texts:
        assert text in said


def journal(cluster: Cluster, job: str) -> int:
    """Return how many messages of a job there are beside its events."""
    return sum(job.encode() in data for _, data in cluster.broker.messages("JOBS"))


def tells(client: httpx.Client, job: str, field: str) -> bool:
    return field in client.get(f"/job/{job}").json()


def steer(client: httpx.Client, job: str, what: str) -> httpx.Response:
    return client.post(f"/job/{job}/{what}")


def test_so_many_at_a_time_and_those_that_wait_say_so(
    system: Cluster, gate: Gate, name: str
) -> None:
    gate.hold(name)
    job = made(system.admin, name, "max_parallel=2")
    wait_begun(gate, name, "a1", "a2")
    wait_until(lambda: told(now(system, job))["a2"] == "running")
    seen = now(system, job)
    assert told(seen) == dict(
        zip(NODES, ["running", "running", "pending", "pending", "pending"], strict=True)
    )
    assert {reasons(seen)[node] for node in NODES[2:]} == {"waits: 2 at a time"}
    assert {result.get("waits") for result in seen["results"][2:]} == {"max_parallel"}
    assert seen["waves"] == {"max_parallel": "2"}
    gate.open(name)
    ended = system.ended(job)
    assert set(told(ended).values()) == {"ok"}
    assert begun(gate, name) == list(NODES)
    messages = [m["message"] for m in ended["timeline"] if m["event"] == "released"]
    assert messages[0] == "2 nodes: a1, a2"
    # Never more than two between their start and their end.
    going = 0
    for kind in kinds(ended):
        going += (kind == "started") - (kind == "completed")
        assert going <= 2
    assert all("waits" not in result for result in ended["results"])


def test_a_canary_goes_first_and_alone(system: Cluster, gate: Gate, name: str) -> None:
    hold(gate, name, "a1", "a2")
    job = made(system.others[0], name, "canary=2")
    wait_begun(gate, name, "a1", "a2")
    let_go(gate, name, "a1")
    wait_until(lambda: told(now(system, job))["a1"] == "ok")
    seen = now(system, job)
    assert {reasons(seen)[node] for node in NODES[2:]} == {"waits for the canary"}
    assert begun(gate, name) == ["a1", "a2"]
    let_go(gate, name, "a2")
    ended = system.ended(job)
    assert set(told(ended).values()) == {"ok"}
    messages = [m["message"] for m in ended["timeline"] if m["event"] == "released"]
    assert messages == ["2 canary: a1, a2", "3 nodes: a3, a4, a5"]


def test_a_failed_canary_stops_the_rest(system: Cluster, gate: Gate, name: str) -> None:
    gate.damage(f"{name}@a1")
    ended = system.ended(made(system.admin, name, "canary=1"))
    assert told(ended) == dict(zip(NODES, ["failed", *4 * ["cancelled"]], strict=True))
    assert {reasons(ended)[node] for node in NODES[1:]} == {"cancelled: 1 of 1 canary nodes failed"}
    assert begun(gate, name) == ["a1"]
    assert ended["status"] == "failed"
    wait_until(lambda: system.others[0].get(f"/job/{ended['id']}").json() == ended)


def test_past_max_failures_the_rest_is_cancelled_and_what_runs_goes_on(
    system: Cluster, gate: Gate, name: str
) -> None:
    for node in ("a1", "a2"):
        gate.damage(f"{name}@{node}")
    hold(gate, name, "a3")
    job = made(system.admin, name, "max_parallel=3&max_failures=20%25")
    wait_until(lambda: "cancelled" in told(now(system, job)).values())
    wait_until(lambda: told(now(system, job))["a3"] == "running")
    let_go(gate, name, "a3")
    ended = system.ended(job)
    assert [told(ended)[node] for node in ("a1", "a2", "a3", "a5")] == [
        *("failed", "failed", "ok", "cancelled")
    ]
    assert reasons(ended)["a5"] == "cancelled: 2 of 5 nodes failed, more than max_failures=1"
    assert ended["status"] == "partial_failure"


def test_a_cancelled_job_ends_at_once_where_it_waits_and_is_stopped_where_it_runs(
    system: Cluster, gate: Gate, name: str
) -> None:
    gate.hold(name)
    job = made(system.admin, name, "max_parallel=2")
    wait_begun(gate, name, "a1", "a2")
    answer = system.others[0].post(f"/job/{job}/cancel", headers={"Prefer": "wait=30"})
    assert told(answer.json()) == dict.fromkeys(NODES, "cancelled")
    assert set(reasons(answer.json()).values()) == {"cancelled by tests"}
    assert begun(gate, name) == ["a1", "a2"]
    assert [gate.stopped(name, node) for node in NODES] == [1, 1, 0, 0, 0]
    ended = system.ended(job)
    assert kinds(ended).count("cancelled") == 2
    assert kinds(ended).count("withheld") == 1
    again = system.admin.post(f"/job/{job}/cancel")
    assert told(again.json()) == dict.fromkeys(NODES, "cancelled")


def test_a_paused_job_releases_nobody_until_it_is_resumed(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    ann = system.client(system.token("write", subject="ann"))
    job = made(system.admin, name, "max_parallel=1")
    wait_begun(gate, name, "a1")
    answer = steer(ann, job, "pause")
    assert answer.status_code == 200, answer.text
    assert answer.json()["message"] == "Paused: 4 of 5 nodes wait for their turn, 1 go on."
    declined(steer(system.others[0], job, "pause"), 409, "is paused already", "by ann")
    let_go(gate, name, "a1")
    wait_until(lambda: told(now(system, job))["a1"] == "ok")
    for client in (system.admin, system.others[0]):
        wait_until(partial(tells, client, job, "paused"))
        seen = client.get(f"/job/{job}").json()
        assert seen["paused"]["by"] == "ann"
        assert reasons(seen)["a2"] == f"paused by ann since {seen['paused']['since']}"
    assert begun(gate, name) == ["a1"]
    let_go(gate, name)
    assert steer(system.others[0], job, "resume").status_code == 200
    ended = system.ended(job)
    assert set(told(ended).values()) == {"ok"}
    assert "paused" not in ended
    steps = {moment["event"]: moment.get("message") for moment in ended["timeline"]}
    assert (steps["paused"], steps["resumed"]) == ("by ann", "by tests")
    for what in ("pause", "resume"):
        declined(steer(system.admin, job, what), 409, "has ended already")


def test_a_paused_job_expires(system: Cluster, gate: Gate, name: str) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=1&expires=3s")
    wait_begun(gate, name, "a1")
    assert steer(system.admin, job, "pause").is_success
    wait_until(lambda: told(now(system, job))["a2"] == "expired")
    declined(steer(system.admin, job, "resume"), 409, "No node of job", "waits any more")
    let_go(gate, name)
    ended = system.ended(job)
    assert told(ended) == dict(zip(NODES, ["ok", *4 * ["expired"]], strict=True))
    assert begun(gate, name) == ["a1"]


@pytest.mark.parametrize("what", ["pause", "resume"])
def test_only_a_job_whose_nodes_wait_can_be_paused(
    system: Cluster, gate: Gate, name: str, what: str
) -> None:
    gate.hold(name)
    job = made(system.admin, name, "")
    declined(steer(system.admin, job, what), 409, "No node of job", "max_parallel or canary")
    wave = made(system.admin, name, "max_parallel=100%25")
    wait_until(lambda: "released" in kinds(now(system, wave)))
    declined(steer(system.admin, wave, what), 409, "waits any more")
    reader = system.client(system.token("read"))
    declined(steer(reader, wave, what), 403, "docker:write")
    declined(steer(system.admin, "0" * 8 + wave[8:], what), 404, "There is no job")
    gate.open(name)
    system.ended(job)
    system.ended(wave)


def test_a_node_that_is_away_holds_up_nobody_and_has_its_turn_when_it_returns(
    system: Cluster, gate: Gate, name: str
) -> None:
    system.agents["a1"].stop()
    system.wait_away("a1")
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=2")
    wait_begun(gate, name, "a2", "a3")
    seen = now(system, job)
    assert reasons(seen)["a1"].startswith("not reachable since")
    assert "waits" not in seen["results"][0]
    system.agents["a1"].start()
    system.wait_here("a1")
    wait_begun(gate, name, "a2", "a3")
    let_go(gate, name, "a2")
    wait_begun(gate, name, "a1", "a2", "a3")
    let_go(gate, name)
    assert set(told(system.ended(job)).values()) == {"ok"}
    assert begun(gate, name) == list(NODES)


def test_a_node_that_dies_at_work_keeps_its_place(system: Cluster, gate: Gate, name: str) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=1")
    wait_until(lambda: told(now(system, job))["a1"] == "running")
    system.agents["a1"].kill()
    system.wait_away("a1")
    assert begun(gate, name) == ["a1"]
    system.agents["a1"].start()
    system.wait_here("a1")
    let_go(gate, name)
    assert set(told(system.ended(job)).values()) == {"ok"}
    # What converges runs again on the node that died amid it, and nowhere else.
    assert begun(gate, name) == ["a1", *NODES]


def test_a_node_that_was_drained_before_its_turn_is_skipped(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=1&max_failures=0")
    wait_begun(gate, name, "a1")
    assert system.admin.post("/agent/a2/drain").is_success
    try:
        let_go(gate, name)
        ended = system.ended(job)
    finally:
        assert system.admin.post("/agent/a2/undrain").is_success
    assert told(ended) == dict(zip(NODES, ["ok", "skipped", "ok", "ok", "ok"], strict=True))
    assert "drained since" in reasons(ended)["a2"]


@pytest.mark.parametrize("effect", ["look", "once"])
def test_what_is_not_kept_for_nodes_that_are_away_fails_there_when_it_comes_to_them(
    system: Cluster, gate: Gate, name: str, effect: str
) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=1&max_failures=0", effect=effect)
    wait_begun(gate, name, "a1")
    system.agents["a3"].stop()
    system.wait_away("a3")
    let_go(gate, name)
    ended = system.ended(job)
    system.agents["a3"].start()
    assert told(ended) == dict(zip(NODES, ["ok", "ok", "failed", "ok", "ok"], strict=True))
    assert "not kept for nodes that are away" in reasons(ended)["a3"]
    assert begun(gate, name) == ["a1", "a2", "a4", "a5"]
    # From its making it has as long as what is kept: each node has its own time from its turn on.
    assert ended["expires"][:10] > ended["created"][:10]
    system.wait_here("a3")


@pytest.mark.parametrize(
    ("target", "query", "named"),
    [
        ("a1", "max_parallel=1", "'a1' is one node"),
        ("a1", "canary=1&max_failures=1", "Leave out canary, max_failures"),
        ("_any", "canary=1", "'_any' is one node"),
        ("_all", "max_parallel=0", "'max_parallel': '0'"),
        ("_all", "max_parallel=200%25", "'200%'"),
        ("_all", "canary=some", "'canary': 'some'"),
        ("_all", "canary=", "'canary': ''"),
        ("_all", "max_failures=1", "give 'max_parallel' or 'canary' too"),
        ("_all", "max_failures=-1&canary=1", "'max_failures': '-1'"),
        ("_all", "canary=1&canary=2", "stands there twice"),
        ("_all", "max_paralel=1", "max_parallel, canary, max_failures"),
    ],
)
def test_what_makes_no_sense_is_refused_and_no_job_is_made(
    system: Cluster, name: str, target: str, query: str, named: str
) -> None:
    before = system.jobs_made()
    declined(ask(system.admin, name, query, target=target), 400, named)
    assert system.jobs_made() == before


def test_a_request_waits_for_nodes_that_wait_for_their_turn(
    system: Cluster, gate: Gate, name: str
) -> None:
    for client in (system.admin, system.others[0]):
        answer = ask(client, name, "max_parallel=1&canary=1", Prefer="wait=60")
        assert told(answer.json()) == dict.fromkeys(NODES, "ok")
        job = answer.json()["job_id"]
        for other in (system.admin, system.others[0]):
            seen = other.get(f"/job/{job}", headers={"Prefer": "wait=60"}).json()
            assert seen["status"] == "completed"
    assert begun(gate, name) == [node for node in NODES for _ in range(2)]


def test_a_label_is_done_in_waves_too(system: Cluster, gate: Gate, name: str) -> None:
    hold(gate, name)
    job = made(system.admin, name, "max_parallel=50%25", target=BOTH)
    wait_begun(gate, name, "a1")
    let_go(gate, name)
    assert told(system.ended(job)) == {"a1": "ok", "a2": "ok"}
    assert begun(gate, name) == ["a1", "a2"]


def test_a_key_makes_one_job_and_other_options_are_another_request(
    system: Cluster, gate: Gate, name: str
) -> None:
    key = {"Idempotency-Key": name}
    first = made(system.admin, name, "max_parallel=2", **key)
    assert made(system.others[0], name, "max_parallel=2", **key) == first
    declined(ask(system.admin, name, "max_parallel=3", **key), 409, "another request")
    system.ended(first)
    assert begun(gate, name) == list(NODES)


def test_a_retry_keeps_the_options_unless_told_otherwise(
    system: Cluster, gate: Gate, name: str
) -> None:
    gate.damage(name)
    failed = made(system.admin, name, "max_parallel=4&max_failures=0")
    assert set(told(system.ended(failed)).values()) == {"failed", "cancelled"}
    gate.mend(name)

    def retried(query: str = "", on: str | None = None) -> dict[str, Any]:
        body = {} if on is None else {"target_hostname": on}
        answer = system.admin.post(f"/job/{failed}/retry?{query}", json=body)
        assert answer.status_code == 201, answer.text
        return system.ended(answer.json()["job_id"])

    again = retried()
    assert again["waves"] == {"max_parallel": "4", "max_failures": "0"}
    assert set(told(again).values()) == {"ok"}
    assert retried("canary=1")["waves"] == {"canary": "1"}
    assert "waves" not in retried(on="a1")
    url = f"/job/{failed}/retry"
    body = {"target_hostname": "a1"}
    declined(system.admin.post(f"{url}?canary=1", json=body), 400, "'a1' is one node")
    declined(system.admin.post(f"{url}?canary=0"), 400, "'canary'")
    declined(system.admin.post(f"{url}?color=red"), 400, "'color'", "max_parallel")


def test_a_deleted_job_leaves_nothing_of_it_in_the_journal(
    system: Cluster, gate: Gate, name: str
) -> None:
    job = made(system.admin, name, "max_parallel=2")
    system.ended(job)
    assert journal(system, job) == 6
    assert system.admin.delete(f"/job/{job}").status_code == 204
    assert journal(system, job) == 0
    assert system.broker.subjects("EVENTS", f"event.*.{job}.*") == {f"event._.{job}.deleted"}
    for client in (system.admin, system.others[0]):
        wait_until(partial(tells, client, job, "error"))


# Commands and clients


@pytest.fixture
def towline(system: Cluster, gate: Gate, tmp_path: Path) -> CommandLine:
    """Commands that know the system, with a token that may do everything."""
    env = {"TOWLINE_URL": system.url, "TOWLINE_TOKEN": system.token("admin")}
    return CommandLine(tmp_path, env | gate.env)


@pytest.fixture
def operations(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The gate's operations as a program imports them; afterwards nothing knows them any more."""
    monkeypatch.syspath_prepend(gate.directory)
    before = {operation.name for operation in catalog}
    yield importlib.import_module(MODULE)
    for operation in list(catalog):
        if operation.name not in before:
            catalog.remove(operation.name)
    del sys.modules[MODULE]


def test_a_command_is_done_in_waves_and_waits_for_all(
    system: Cluster, gate: Gate, towline: CommandLine, name: str
) -> None:
    gate.damage(f"{name}@a2")
    options = ("--max-parallel", "1", "--canary", "20%", "--max-failures", "0")
    done = towline("gate", "pass", name, "--on", "_all", *options)
    assert done.status == 1
    assert "not done yet" not in done.stderr
    found = {row["HOSTNAME"]: row["STATUS"] for row in rows(done.stdout)}
    assert found == dict(zip(NODES, ["ok", "failed", *3 * ["cancelled"]], strict=True))
    gate.mend(f"{name}@a2")
    job = json.loads(towline("jobs", "--limit", "1", "-o", "json").stdout)["items"][0]["id"]
    again = towline("retry", job, "--max-parallel", "2")
    assert again.status == 0
    assert {row["STATUS"] for row in rows(again.stdout)} == {"ok"}
    wrong = towline("gate", "pass", name, "--on", "_all", "--canary", "none")
    assert (wrong.status, "'canary': 'none'" in wrong.stderr) == (1, True)


def test_a_job_is_paused_and_resumed_by_commands(
    system: Cluster, gate: Gate, towline: CommandLine, name: str
) -> None:
    hold(gate, name)
    told_at_once = towline(
        *("gate", "pass", name, "--on", "_all", "--max-parallel", "1", "--wait", "1ms")
    )
    assert "not done yet" in told_at_once.stderr
    job = system.admin.get("/job?limit=1").json()["items"][0]["id"]
    wait_begun(gate, name, "a1")
    assert towline("pause", job).stdout.startswith("Paused: 4 of 5 nodes wait")
    assert "paused by tests" in towline("job", job).stdout
    again = towline("pause", job)
    assert (again.status, "paused already" in again.stderr) == (1, True)
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
        assert client.pause(job.id)["job_id"] == job.id
        found = client.job(job.id)
        assert found["waves"] == {"max_parallel": "1", "canary": "20%", "max_failures": "0"}
        assert found["paused"]["by"] == "tests"
        let_go(gate, name)
        assert client.resume(job.id)["message"].startswith("Resumed")
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
