"""How far a job is, told while it goes on: by agents, controllers and the client."""

import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.testing.answers import refused, results
from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.engine import Engine
from tests.testing.gate import Gate
from tests.testing.process import wait_until
from tests.testing.proxy import FaultyProxy, Freeze
from tests.testing.registry import Registry, random_layer
from towline.client import AsyncClient, Client, Progress
from towline.operations import docker
from towline.wire.progress import DOWNLOADING, EXTRACTING, Layer, Report

NODES = ("one", "two")
JSON = {"Accept": "application/json"}
LARGE = 6_000_000
FROZEN_AT = 3_000_000
_names = (f"name{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds operations back, and lets them tell how far they are."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def pair(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes and a second controller."""
    plans = [NodePlan(name) for name in NODES]
    with Cluster(tmp_path_factory.mktemp("progress"), plans, env=gate.env) as cluster:
        cluster.add_controller()
        yield cluster


@pytest.fixture
def held(gate: Gate) -> Iterator[str]:
    """A name, held back until the test ends or opens it."""
    name = next(_names)
    gate.hold(name)
    yield name
    gate.open(name)


def a_report(fetched: int, rate: int = 10) -> Report:
    layers = [Layer("1de5d1d5e9ce", DOWNLOADING, fetched, 100)]
    return Report(DOWNLOADING, layers=layers, fetched=fetched, size=100, rate=rate, left=7)


def begin(cluster: Cluster, gate: Gate, name: str, target: str = "_all") -> str:
    """Begin a job that is held back, and return its id when it runs on every node it is for."""
    headers = {"Prefer": "respond-async"}
    answer = cluster.admin.post(f"/node/{target}/gate/pass", json={"name": name}, headers=headers)
    job = str(answer.json()["job_id"])
    nodes = NODES if target == "_all" else [target]
    wait_until(lambda: all(gate.begun(name, node) for node in nodes), what="all to be begun")
    return job


def snapshot(client: httpx.Client, job: str, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/job/{job}/progress{query}", headers=JSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    told: dict[str, Any] = answer.json()
    return told


def fetched(told: dict[str, Any]) -> dict[str, int]:
    return {node["hostname"]: node.get("fetched", 0) for node in told["nodes"]}


# What a controller tells


def test_every_controller_tells_the_present_state_at_once(
    pair: Cluster, gate: Gate, held: str
) -> None:
    job = begin(pair, gate, held)
    for number, node in enumerate(NODES):
        gate.tell(held, node, a_report(20 + number))
    expected = {"one": 20, "two": 21}
    # The nodes have nothing new to tell when the first and when the second one are asked.
    for client in (pair.reader, *pair.others):

        def told_of(client: httpx.Client = client) -> bool:
            return fetched(snapshot(client, job)) == expected

        wait_until(told_of, what="both to be told of")
        told = snapshot(client, job)
        assert told["job_id"] == job
        assert told["status"] == "processing"
        assert told["total"]["nodes"] == {"running": 2}
        assert (told["total"]["fetched"], told["total"]["size"]) == (41, 200)
        assert (told["total"]["rate"], told["total"]["left"]) == (20, 7)
        assert told["nodes"][0]["layers"] == [
            {"id": "1de5d1d5e9ce", "state": DOWNLOADING, "fetched": 20, "size": 100}
        ]


def test_a_stream_tells_what_changes_until_the_job_ends(
    pair: Cluster, gate: Gate, held: str
) -> None:
    job = begin(pair, gate, held)
    gate.tell(held, "one", a_report(1))
    gate.tell(held, "two", a_report(50))
    events: list[tuple[str, dict[str, Any]]] = []
    known: dict[str, int | None] = {}
    with pair.reader.stream("GET", f"/job/{job}/progress") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            if not line.startswith("data: "):
                continue
            told = json.loads(line.removeprefix("data: "))
            events.append((kind, told))
            if kind == "end":
                continue
            last = {node["hostname"]: node.get("fetched") for node in told.get("nodes", [])}
            known |= last
            if known == {"one": 1, "two": 50}:
                gate.tell(held, "one", a_report(2))
            elif last.get("one") == 2:
                # Of the other node there was no news.
                assert "two" not in last
                gate.open(held)
    assert [kind for kind, _ in events] == ["progress"] * (len(events) - 1) + ["end"]
    assert events[-1][1] == {"job_id": job, "status": "completed", "nodes": {"ok": 2}}
    # Ended, it is told all the same, and what was heard to its end is not told again.
    assert snapshot(pair.reader, job)["total"] == {"nodes": {"ok": 2}, "complete": 1.0}
    again = pair.reader.get(f"/job/{job}/progress", headers={"Last-Event-ID": "end"})
    assert again.status_code == 204


def test_one_node_alone_may_be_followed(pair: Cluster, gate: Gate, held: str) -> None:
    job = begin(pair, gate, held)
    gate.tell(held, "two", a_report(3))
    wait_until(lambda: fetched(snapshot(pair.reader, job, "?node=two")) == {"two": 3}, what="it")
    gate.open(held)
    pair.ended(job)


def test_a_node_that_goes_away_is_no_more_at_it(pair: Cluster, gate: Gate, held: str) -> None:
    job = begin(pair, gate, held)
    for node in NODES:
        gate.tell(held, node, a_report(5))
    with Client(pair.url, pair.token("read")) as client:
        stream = client.progress(job)
        assert any(told.total.fetched == 10 for told in stream)
        pair.agents["two"].kill()
        for told in stream:
            gone = [node for node in told.nodes.values() if node.error is not None]
            if gone:
                break
        assert gone[0].hostname == "two"
        assert "not reachable since" in str(gone[0].error)
        assert told.total.fetched == 5
        # It does again what it was at, and tells it.
        pair.agents["two"].start()
        assert any(
            [node.fetched for node in told.nodes.values() if node.error is None] == [5, 5]
            for told in stream
        )
    gate.open(held)
    assert pair.ended(job)["status"] == "completed"


def test_after_the_broker_was_away_the_stream_goes_on(pair: Cluster, gate: Gate, held: str) -> None:
    job = begin(pair, gate, held)
    gate.tell(held, "one", a_report(5))
    with Client(pair.url, pair.token("read")) as client:
        stream = client.progress(job)
        assert any(told.total.fetched == 5 for told in stream)
        pair.broker.stop()
        gate.tell(held, "one", a_report(6))
        pair.broker.start()
        assert any(told.total.fetched == 6 for told in stream)
    gate.open(held)
    assert pair.ended(job)["status"] == "completed"
    pair.wait_here(*NODES)


def test_a_controller_listens_only_while_somebody_follows(
    pair: Cluster, gate: Gate, held: str
) -> None:
    job = begin(pair, gate, held)
    gate.tell(held, "one", a_report(5))
    subject = f"progress.nobody.{job}"
    assert not pair.broker.heard(subject)
    with Client(pair.url, pair.token("read")) as client:
        stream = client.progress(job)
        assert any(told.total.fetched == 5 for told in stream)
        assert pair.broker.heard(subject)
    wait_until(lambda: not pair.broker.heard(subject), what="nobody to listen any more")


def test_what_cannot_be_told_is_refused(pair: Cluster, gate: Gate, held: str) -> None:
    job = begin(pair, gate, held, "one")
    nowhere = "00000000-0000-7000-8000-000000000000"
    refused(pair.reader.get(f"/job/{nowhere}/progress"), 404)
    refused(pair.reader.get("/job/x/progress"), 400)
    refused(pair.anyone.get(f"/job/{job}/progress"), 401)
    nobody = pair.client(pair.token("read", permissions=["docker:read"]))
    refused(nobody.get(f"/job/{job}/progress"), 403)
    assert "two" in refused(pair.reader.get(f"/job/{job}/progress?node=two"), 404)
    refused(pair.reader.get(f"/job/{job}/progress?node=nobody"), 400)
    refused(pair.reader.get(f"/job/{job}/progress?colour=red"), 400)


async def test_the_client_tells_it_for_asyncio_too(pair: Cluster, gate: Gate, held: str) -> None:
    job = begin(pair, gate, held)
    gate.tell(held, "one", a_report(5))
    gate.tell(held, "two", Report(EXTRACTING, fetched=100, size=100))
    last: Progress | None = None
    async with AsyncClient(pair.url, pair.token("read")) as client:
        async for told in client.progress(job):
            if sorted(node.fetched for node in told.nodes.values()) == [5, 100]:
                assert not told.done
                gate.open(held)
            last = told
    assert last is not None
    assert last.done
    assert {node.status for node in last.nodes.values()} == {"ok"}


# What the command line shows


class Terminal:
    """`towline` with a terminal of its own at standard error, and output into a file.

    Parameters: `arguments` are those of the command, `env` is what it finds in its environment.
    """

    def __init__(self, output: Path, env: Mapping[str, str], *arguments: str) -> None:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 100))
        self._terminal = ours
        self.output = output
        script = Path(sys.executable).with_name("towline")
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [script, *arguments],
                env={**os.environ, **env, "TERM": "xterm"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=theirs,
                start_new_session=True,
            )
        os.close(theirs)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Wait until something is shown."""

        def there() -> bool:
            while select.select([self._terminal], [], [], 0)[0]:
                try:
                    self.shown += os.read(self._terminal, 65536).decode()
                except OSError:  # Linux: what was at the other end has ended
                    break
            return text in self.shown

        wait_until(there, what=f"{text!r} on the terminal")

    def interrupt(self) -> None:
        """Do what ^C does."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait for its end and return the exit status."""
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            os.close(self._terminal)


@pytest.fixture
def env(pair: Cluster, gate: Gate) -> dict[str, str]:
    """What the command line finds in its environment."""
    return {
        **gate.env,
        "TOWLINE_URL": pair.url,
        "TOWLINE_TOKEN": pair.token("admin"),
        "TOWLINE_CONFIG": "/dev/null",
    }


def test_whoever_interrupts_the_command_line_is_told_how_to_go_on(
    pair: Cluster, gate: Gate, held: str, env: dict[str, str], tmp_path: Path
) -> None:
    terminal = Terminal(tmp_path / "out", env, "gate", "pass", held, "--on", "_all")
    wait_until(lambda: all(gate.begun(held, node) for node in NODES), what="both to be begun")
    gate.tell(held, "one", Report(DOWNLOADING, fetched=2**20, size=2**22))
    terminal.wait_for("1.00 MiB of 4.00 MiB")
    terminal.interrupt()
    terminal.wait_for("stops it")
    assert terminal.end() == 130
    assert terminal.output.read_text() == ""
    found = re.search(r"towline job (\S+) --follow", terminal.shown)
    assert found is not None
    assert f"towline cancel {found[1]} stops it" in terminal.shown
    assert pair.job(found[1], wait=0)["status"] == "processing"

    # As it says.
    again = Terminal(tmp_path / "again", env, "job", found[1], "--follow")
    again.wait_for("1.00 MiB of 4.00 MiB")
    gate.open(held)
    assert again.end() == 0
    kinds = [line.split()[1] for line in again.output.read_text().splitlines()[:-1]]
    assert (kinds[0], sorted(kinds[-2:])) == ("submitted", ["completed", "completed"])


def test_what_is_shown_does_not_get_among_the_results(
    gate: Gate, held: str, env: dict[str, str], tmp_path: Path
) -> None:
    table, plain = (
        Terminal(tmp_path / form, env, "gate", "pass", held, "--on", "one", "--output", form)
        for form in ("table", "json")
    )
    wait_until(lambda: gate.begun(held, "one") == 2, what="both to be begun")
    gate.tell(held, "one", Report(DOWNLOADING, fetched=2**20, size=2**22))
    table.wait_for("1.00 MiB of 4.00 MiB")
    gate.open(held)
    assert (table.end(), plain.end()) == (0, 0)
    lines = table.output.read_text().splitlines()
    assert [line.split()[:2] for line in lines] == [["HOSTNAME", "STATUS"], ["one", "ok"]]
    assert json.loads(plain.output.read_text())["results"][0]["status"] == "ok"
    assert plain.shown == ""


# What engines tell


@pytest.fixture(scope="module")
def slow(registry: Registry) -> Iterator[FaultyProxy]:
    """What stands before the registry and can stop in mid-blob."""
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


def begun(cluster: Cluster, reference: str) -> str:
    """Ask all nodes for a pull, and return its job's id."""
    answer = cluster.pull("_all", reference, prefer="respond-async")
    results(answer)
    return str(answer.json()["job_id"])


def test_a_pull_tells_its_layers_on_every_node(
    cluster: Cluster, engines: Sequence[Engine], registry: Registry, slow: FaultyProxy
) -> None:
    kind = engines[0].kind
    layers = [random_layer(f"{kind} small"), random_layer(f"{kind} large", LARGE)]
    image = registry.push_image(f"progress/{kind}", "1", layers)
    reference = image.reference.replace(registry.host, slow.host)
    slow.fault = Freeze(match=f"blobs/{image.layer_digests[1]}", after=FROZEN_AT)
    job = begun(cluster, reference)

    def frozen(node: dict[str, Any]) -> bool:
        return any(
            layer["state"] == DOWNLOADING
            and layer["size"] > LARGE
            # The classic engine tells of the bytes a little late.
            and 0 < layer["fetched"] <= FROZEN_AT
            for layer in node.get("layers", [])
        )

    def all_frozen() -> bool:
        told = snapshot(cluster.reader, job)
        return len(told["nodes"]) == 3 and all(frozen(node) for node in told["nodes"])

    wait_until(all_frozen, what="every node to be in the midst of the large layer")
    seen: list[Progress] = []
    with Client(cluster.url, cluster.token("read")) as client:
        for told in client.progress(job):
            seen.append(told)
            if told.total.nodes == {"running": 3}:
                slow.fault = None
    # Who comes late sees at once how far each node is.
    assert sorted(node.hostname for node in seen[0].nodes.values()) == sorted([WEB_1, WEB_2, DB_1])
    assert all(len(node.layers) == 2 for node in seen[0].nodes.values())
    assert 0 < seen[0].total.complete < 1
    assert seen[-1].done
    assert {node.status for node in seen[-1].nodes.values()} == {"ok"}
    assert seen[-1].total.complete == 1


def test_tasks_that_share_a_pull_are_each_told_of(
    cluster: Cluster, engines: Sequence[Engine], registry: Registry, slow: FaultyProxy
) -> None:
    kind = engines[0].kind
    image = registry.push_image(
        f"progress/shared-{kind}", "1", [random_layer(f"{kind} shared", LARGE)]
    )
    # By digest: who comes later joins what is under way.
    reference = image.by_digest.replace(registry.host, slow.host)
    slow.fault = Freeze(match=f"blobs/{image.layer_digests[0]}", after=FROZEN_AT)
    with Client(cluster.url, cluster.token("write")) as client:
        asked = client.with_options(wait=0)
        jobs = [asked.run(docker.pull, WEB_1, image=reference) for _ in range(2)]
        for job in jobs:
            assert any(told.total.fetched > 0 for told in job.progress())
        slow.fault = None
        for job in jobs:
            assert job.wait().succeeded
    pulls = [line for line in slow.requests if image.layer_digests[0] in line]
    assert len([line for line in pulls if line.startswith("GET")]) == 1
