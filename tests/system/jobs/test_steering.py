"""Jobs and nodes, seen and steered by the command line and the Python client."""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.cluster import Cluster, NodePlan
from tests.testing.command import TOWLINE, CommandLine, rows
from tests.testing.gate import Gate
from tests.testing.process import wait_until
from towline.client import ApiError, AsyncClient, Client, Event, JobEvent

NODES = ("one", "two")
AT_ONCE = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds operations back."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def pair(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes."""
    plans = [NodePlan(name) for name in NODES]
    with Cluster(tmp_path_factory.mktemp("pair"), plans, env=gate.env) as cluster:
        yield cluster


@pytest.fixture
def towline(pair: Cluster, gate: Gate, tmp_path: Path) -> CommandLine:
    """Commands that know the cluster, with a token that may do everything."""
    env = {"TOWLINE_URL": pair.url, "TOWLINE_TOKEN": pair.token("admin")}
    return CommandLine(tmp_path, env | gate.env)


@pytest.fixture
def client(pair: Cluster) -> Iterator[Client]:
    with Client(pair.url, pair.token("admin")) as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest, gate: Gate) -> Iterator[str]:
    """What nothing has passed under yet."""
    name = request.node.name.replace("[", "-").replace("]", "")
    yield name
    gate.open(name)


def made(pair: Cluster, name: str, target: str = "_all", *, wait: int = 0) -> str:
    headers = {"Prefer": f"wait={wait}"}
    answer = pair.admin.post(f"/node/{target}/gate/pass", json={"name": name}, headers=headers)
    return str(answer.headers["Location"].removeprefix("/job/"))


def test_jobs_are_listed_with_filters_and_pages(
    pair: Cluster, towline: CommandLine, name: str
) -> None:
    first, second = made(pair, name, "one", wait=9), made(pair, name, wait=9)
    listed = rows(towline("jobs", "--operation", "gate.pass", "--limit", "2").stdout)
    assert [row["JOB"] for row in listed] == [each.rpartition("-")[2] for each in (second, first)]
    assert listed[0]["NODES"] == "2 ok"
    assert listed[0]["STATUS"] == "completed"
    shown = towline("jobs", "--limit", "1", "-o", "json")
    page = json.loads(shown.stdout)
    assert page["items"][0]["id"] == second
    on = towline("jobs", "--limit", "1", "--cursor", page["next_cursor"])
    assert rows(on.stdout)[0]["JOB"] == first.rpartition("-")[2]
    assert "--cursor" in towline("jobs", "--limit", "1").stderr
    assert "nobody" in towline("jobs", "--node", "nobody").stderr
    assert towline("jobs", "--status", "bad").status == 2


def test_a_job_is_followed_to_its_end(
    pair: Cluster, gate: Gate, towline: CommandLine, name: str
) -> None:
    gate.hold(name)
    job = made(pair, name)
    wait_until(lambda: all(gate.begun(name, node) for node in NODES))
    threading.Timer(0.5, gate.open, [name]).start()
    shown = towline("job", job, "--follow")
    assert shown.status == 0
    kinds = [line.split()[1] for line in shown.stdout.splitlines() if not line.startswith("end")]
    assert kinds[0] == "submitted"
    assert sorted(kinds[1:]) == ["completed", "completed", "started", "started"]
    assert "completed: 2 ok" in shown.stdout.splitlines()[-1]

    gate.damage(name)
    failed = towline("job", made(pair, name, wait=9), "--follow", "-o", "json")
    assert failed.status == 1
    events = [json.loads(line) for line in failed.stdout.splitlines()]
    assert (events[-1]["event"], events[-1]["status"]) == ("end", "failed")
    gate.mend(name)


def test_a_job_is_cancelled_and_retried(
    pair: Cluster, gate: Gate, towline: CommandLine, name: str
) -> None:
    gate.hold(name)
    job = made(pair, name)
    wait_until(lambda: all(gate.begun(name, node) for node in NODES))
    stopped = towline("cancel", job)
    assert stopped.status == 0
    assert stopped.stdout.startswith("2 cancelled")
    gate.open(name)
    again = towline("retry", job)
    assert again.status == 0
    assert again.stdout.startswith("2 ok")
    nothing = towline("cancel", json.loads(towline("jobs", "-o", "json").stdout)["items"][0]["id"])
    assert nothing.status == 2
    assert "ended already" in nothing.stderr
    gate.damage(name)
    broken = towline("retry", job, "--on", "one", "-o", "json")
    assert broken.status == 1
    assert json.loads(broken.stdout)["results"][0]["status"] == "failed"


def test_whatever_takes_the_id_of_a_job_takes_its_short_id(
    pair: Cluster, gate: Gate, towline: CommandLine, name: str
) -> None:
    gate.hold(name)
    answer = pair.admin.post(
        "/node/_all/gate/pass", json={"name": name}, params={"max_parallel": 1}, headers=AT_ONCE
    )
    job = answer.json()["job_id"]
    short = job.rpartition("-")[2]
    for what in ("", "/progress"):
        shown = pair.admin.get(
            f"/job/{short.upper()}{what}", headers={"Accept": "application/json"}
        ).json()
        assert job in (shown.get("id"), shown.get("job_id"))
    assert [towline("job", verb, short).status for verb in ("pause", "resume")] == [0, 0]
    stopped = json.loads(towline("job", "cancel", short, "-o", "json").stdout)
    assert {each["status"] for each in stopped["results"]} == {"cancelled"}
    gate.open(name)
    followed = towline("job", "follow", short, "-o", "json")
    assert {json.loads(line)["job_id"] for line in followed.stdout.splitlines()} == {job}
    assert towline("job", "retry", short).status == 0
    audited = json.loads(towline("audit", "--job", short, "-o", "json").stdout)
    assert {entry["job_id"] for entry in audited["items"]} == {job}
    assert towline("job", "delete", short).status == 0
    assert f"There is no job {short}" in towline("job", short).stderr


def test_a_node_is_drained_and_undrained(towline: CommandLine, name: str) -> None:
    assert "two" in towline("drain", "two").stdout
    try:
        states = {row["NODE"]: row["STATE"] for row in rows(towline("nodes").stdout)}
        assert states == {"one": "Ready", "two": "Cordoned"}
        again = towline("drain", "two")
        assert (again.status, "already" in again.stderr) == (2, True)
        assert "drained" in towline("gate", "pass", name, "--on", "two").stderr
    finally:
        assert towline("undrain", "two").status == 0
    assert towline("gate", "pass", name, "--on", "two").status == 0


def test_a_list_that_is_watched_goes_on_over_a_restart_of_the_controller(
    pair: Cluster, towline: CommandLine
) -> None:
    command = [str(TOWLINE), "node", "list", "--watch", "-o", "json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=towline.env, stdout=pipe, stderr=pipe, text=True
    ) as watching:
        # A line that never comes would be waited for for ever.
        late = threading.Timer(100, watching.kill)
        late.start()
        try:
            assert watching.stdout is not None
            assert watching.stderr is not None
            lines = map(json.loads, watching.stdout)
            assert {next(lines)["hostname"], next(lines)["hostname"]} == {*NODES}
            towline("drain", "two")
            news = next(lines)
            assert (news["hostname"], news["event"]) == ("two", "changed")
            assert news["state"] == "Cordoned"
            pair.controller.stop()
            assert "lost the controller" in watching.stderr.readline()
            pair.controller.start()
            assert watching.stderr.readline() == "the controller answers again\n"
            pair.wait_here(*NODES)
            towline("undrain", "two")
            # Until it has heard them, a controller that was started anew takes nodes to be away.
            states = ((each["hostname"], each["state"]) for each in lines)
            assert ("two", "Ready") in states
        finally:
            watching.send_signal(signal.SIGINT)
            status = watching.wait()
            late.cancel()
    assert status == 130


def test_a_key_makes_a_command_one_job(gate: Gate, towline: CommandLine, name: str) -> None:
    command = ("gate", "pass", name, "--on", "_all", "--idempotency-key", name, "-o", "json")
    first, second = towline(*command), towline(*command)
    assert json.loads(first.stdout)["job_id"] == json.loads(second.stdout)["job_id"]
    assert [gate.begun(name, node) for node in NODES] == [1, 1]


def test_the_client_sees_and_steers(pair: Cluster, gate: Gate, client: Client, name: str) -> None:
    gate.hold(name)
    job = made(pair, name)
    wait_until(lambda: all(gate.begun(name, node) for node in NODES))
    events: list[Event[JobEvent]] = []
    listener = threading.Thread(target=lambda: events.extend(client.job_events(job)))
    listener.start()
    wait_until(
        lambda: [each.id for each in client.jobs(status="processing", limit=1).items] == [job],
        what="the job among those that go on",
    )
    assert client.cancel(job).status == "failed"
    listener.join()
    assert [events[0].kind, events[-1].kind] == ["submitted", "end"]
    assert {event.data.job_id for event in events} == {job}
    assert list(client.job_events(job, after=events[-1].id)) == []
    gate.open(name)
    again = client.with_options(wait=9).retry(job)
    assert again.status == "created"
    retried = client.job(again.job_id)
    assert (retried.status, retried.retry_of) == ("completed", job)
    client.delete_job(job)
    with pytest.raises(ApiError) as refused:
        client.job(job)
    assert refused.value.status == 404
    assert client.node("one").state == "Ready"
    assert "one" in client.drain("one")
    assert "one" in client.undrain("one")


async def test_the_asyncio_client_sees_and_steers(pair: Cluster, gate: Gate, name: str) -> None:
    gate.hold(name)
    job = made(pair, name)
    async with AsyncClient(pair.url, pair.token("admin")) as client:
        kinds = []
        async for event in client.job_events(job):
            kinds.append(event.kind)
            if event.kind == "started" and kinds.count("started") == len(NODES):
                await client.cancel(job)
        assert kinds[-1] == "end"
        assert kinds.count("cancelled") == len(NODES)
        gate.open(name)
        again = await client.with_options(wait=9).retry(job)
        page = await client.jobs(limit=1)
        (retried,) = page.items
        assert (retried.id, retried.status) == (again.job_id, "completed")
        await client.delete_job(job)
        assert (await client.node("two")).hostname == "two"
        assert "two" in await client.drain("two")
        assert "two" in await client.undrain("two")


def test_a_stream_goes_on_when_the_controller_comes_back(
    pair: Cluster, gate: Gate, client: Client, name: str
) -> None:
    gate.hold(name)
    job = made(pair, name)
    wait_until(lambda: all(gate.begun(name, node) for node in NODES))
    kinds: list[str] = []

    def listen() -> None:
        for event in client.job_events(job):
            kinds.append(event.kind)

    listener = threading.Thread(target=listen)
    listener.start()
    wait_until(lambda: "submitted" in kinds, what="the stream's beginning")
    events = client.job_events(job)
    assert next(events).kind == "submitted"
    pair.controller.kill()
    pair.controller.start()
    pair.controller.wait_for_output("answers at")
    gate.open(name)
    listener.join()
    assert kinds.count("completed") == len(NODES)
    assert kinds.count("submitted") == 1
    assert [event.kind for event in events][-1] == "end"
    pair.wait_here(*NODES)


def test_a_stream_of_a_controller_that_is_not_there_is_an_error(name: str) -> None:
    with Client("http://127.0.0.1:9", "x") as client, pytest.raises(ApiError) as refused:
        next(client.events())
    assert refused.value.status == 0
