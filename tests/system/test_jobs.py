"""The job API: seen, steered, and told as it happens."""

import itertools
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import pytest

from tests.testing.answers import refused
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.gate import Gate
from tests.testing.process import wait_until

NODES = ("one", "two", "three")
_names = (f"name{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds operations back."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def jobs(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes and a second controller."""
    plans = [NodePlan(name, labels=("group:gate",)) for name in NODES]
    with Cluster(tmp_path_factory.mktemp("jobs"), plans, env=gate.env) as cluster:
        cluster.add_controller()
        yield cluster


@pytest.fixture
def name() -> str:
    """What nothing has passed under yet."""
    return next(_names)


Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(jobs: Cluster, name: str) -> Ask:
    """Ask for a passage under this test's name."""

    def ask(target: str, operation: str = "pass", *, wait: int = 30, **more: Any) -> httpx.Response:
        headers = {"Prefer": f"wait={wait}", **more.pop("headers", {})}
        body = {"name": name, **more.pop("body", {})}
        url = f"/node/{target}/gate/{operation}{more.pop('query', '')}"
        client = more.pop("client", jobs.admin)
        answer: httpx.Response = client.post(url, json=body, headers=headers)
        return answer

    return ask


@pytest.fixture
def held(gate: Gate, name: str) -> Iterator[str]:
    """The name, held back until the test ends or opens it."""
    gate.hold(name)
    yield name
    gate.open(name)


def job_id(answer: httpx.Response) -> str:
    assert answer.is_success, answer.text
    return str(answer.json()["job_id"])


def statuses(body: dict[str, Any]) -> dict[str, str]:
    return {result["hostname"]: result["status"] for result in body["results"]}


# Cancelling


def test_what_runs_is_stopped_on_every_node(jobs: Cluster, gate: Gate, ask: Ask, held: str) -> None:
    job = job_id(ask("_all", wait=0))
    wait_until(lambda: all(gate.begun(held, node) for node in NODES), what="all to be begun")
    answer = jobs.writer.post(f"/job/{job}/cancel")
    assert answer.status_code == 200
    assert answer.headers["Location"] == f"/job/{job}"
    body = answer.json()
    assert body["job_id"] == job
    assert body["status"] == "failed"
    assert statuses(body) == dict.fromkeys(NODES, "cancelled")
    assert {result["error"] for result in body["results"]} == {"cancelled by tests"}
    assert all(gate.stopped(held, node) == 1 for node in NODES)

    again = jobs.writer.post(f"/job/{job}/cancel")
    assert again.status_code == 200
    assert again.json() == body
    assert jobs.job(job)["results"] == body["results"]


def test_a_job_for_any_node_is_stopped_on_the_one_that_has_it(
    jobs: Cluster, gate: Gate, ask: Ask, held: str
) -> None:
    job = job_id(ask("_any", wait=0))
    wait_until(lambda: any(gate.begun(held, node) for node in NODES), what="one to be begun")
    (result,) = jobs.writer.post(f"/job/{job}/cancel").json()["results"]
    assert result["status"] == "cancelled"
    assert gate.stopped(held, result["hostname"]) == 1
    assert sum(gate.begun(held, node) for node in NODES) == 1


def test_a_read_is_stopped_too(jobs: Cluster, gate: Gate, held: str) -> None:
    headers = {"Prefer": "respond-async"}
    answer = jobs.reader.get(f"/node/one/gate?name={held}", headers=headers)
    job = job_id(answer)
    wait_until(lambda: gate.begun(held, "one") == 1, what="it to be begun")
    # Whoever may ask for it may stop it.
    (result,) = jobs.reader.post(f"/job/{job}/cancel").json()["results"]
    assert result["status"] == "cancelled"
    assert gate.stopped(held, "one") == 1


def test_what_has_ended_is_not_cancelled(jobs: Cluster, ask: Ask) -> None:
    job = job_id(ask("_all"))
    assert "completed" in refused(jobs.writer.post(f"/job/{job}/cancel"), 409)
    assert jobs.job(job)["status"] == "completed"


def test_to_cancel_takes_the_permission_to_do_it_or_docker_write(
    jobs: Cluster, ask: Ask, held: str
) -> None:
    job = job_id(ask("one", "once", wait=0))
    steering = jobs.client(jobs.token("read", permissions=["job:read", "job:write"]))
    assert "gate:execute" in refused(steering.post(f"/job/{job}/cancel"), 403)
    assert refused(jobs.reader.post(f"/job/{job}/cancel"), 403)
    assert refused(jobs.anyone.post(f"/job/{job}/cancel"), 401)
    own = jobs.client(jobs.token("read", permissions=["gate:execute"]))
    assert own.post(f"/job/{job}/cancel").status_code == 200


def test_a_node_that_is_away_is_cancelled_when_it_returns(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    agent = jobs.agents["three"]
    assert agent.stop() == 0
    jobs.wait_away("three")
    try:
        job = job_id(ask("_all"))
        answer = jobs.writer.post(f"/job/{job}/cancel", headers={"Prefer": "wait=3000"})
        found = {result["hostname"]: result for result in answer.json()["results"]}
        assert found["one"]["status"] == "ok"
        assert found["three"]["status"] == "pending"
        assert "cancelled when it returns" in found["three"]["error"]
        # Late enough for the node to know that its job has waited.
        second = job_id(ask("three", wait=0))
        assert jobs.writer.post(f"/job/{second}/cancel").json()["results"][0]["status"] == "pending"
    finally:
        agent.start()
    assert statuses(jobs.ended(job)) == {"one": "ok", "two": "ok", "three": "cancelled"}
    assert statuses(jobs.ended(second)) == {"three": "cancelled"}
    assert gate.passed(name, "three") == 0
    jobs.wait_here("three")


# Retrying


def test_a_retry_is_for_the_nodes_that_failed(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    gate.hold(name)
    job = job_id(ask("group:gate", wait=0))
    wait_until(lambda: all(gate.begun(name, node) for node in NODES), what="all to be begun")
    jobs.agents["two"].kill()
    gate.open(name)
    wait_until(lambda: gate.passed(name, "one") == gate.passed(name, "three") == 1)
    gate.damage(name)
    jobs.agents["two"].start()
    assert statuses(jobs.ended(job)) == {"one": "ok", "two": "failed", "three": "ok"}

    gate.mend(name)
    answer = jobs.writer.post(f"/job/{job}/retry", headers={"Prefer": "wait=30"})
    assert answer.status_code == 201
    body = answer.json()
    assert body.keys() == {"job_id", "status", "timestamp"}
    assert answer.headers["Location"] == f"/job/{body['job_id']}"
    again = jobs.ended(body["job_id"])
    assert statuses(again) == {"two": "ok"}
    assert again["retry_of"] == job
    assert again["target"] == "group:gate"
    assert gate.begun(name, "one") == gate.begun(name, "three") == 1
    jobs.wait_here("two")


def test_a_retry_elsewhere_is_for_the_target_named(jobs: Cluster, gate: Gate, ask: Ask) -> None:
    job = job_id(ask("one"))
    assert "failed nowhere" in refused(jobs.writer.post(f"/job/{job}/retry"), 400)
    answer = jobs.writer.post(
        f"/job/{job}/retry", json={"target_hostname": "two"}, headers={"Prefer": "wait=30"}
    )
    assert answer.json()["status"] == "completed"
    assert statuses(jobs.job(answer.json()["job_id"])) == {"two": "ok"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'{"target_hostname": 7}', "target_hostname"),
        (b'{"target_hostname": ""}', "target"),
        (b'{"target_hostname": "nobody"}', "nobody"),
        (b'{"target": "one"}', "target"),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused(
    jobs: Cluster, ask: Ask, body: bytes, says: str
) -> None:
    job = job_id(ask("one"))
    made = jobs.jobs_made()
    headers = {"Content-Type": "application/json"}
    answer = jobs.writer.post(f"/job/{job}/retry", content=body, headers=headers)
    refused(answer, 400)
    assert says in answer.text
    assert jobs.jobs_made() == made


def test_to_retry_takes_the_permission_to_do_it(jobs: Cluster, ask: Ask) -> None:
    job = job_id(ask("one", "once"))
    body = {"target_hostname": "one"}
    steering = jobs.client(jobs.token("read", permissions=["job:write"]))
    assert "gate:execute" in refused(steering.post(f"/job/{job}/retry", json=body), 403)
    own = jobs.client(jobs.token("read", permissions=["gate:execute"]))
    assert "job:write" in refused(own.post(f"/job/{job}/retry", json=body), 403)


# Deleting


def test_a_deleted_job_is_gone_for_all_controllers_and_for_good(jobs: Cluster, ask: Ask) -> None:
    job, kept = job_id(ask("_all")), job_id(ask("one"))
    assert jobs.others[0].get(f"/job/{job}").status_code == 200
    answer = jobs.writer.delete(f"/job/{job}")
    assert (answer.status_code, answer.content) == (204, b"")
    for client in (jobs.admin, *jobs.others):
        wait_until(partial(is_gone, client, f"/job/{job}"), what="the job to be gone")
        assert client.get(f"/job/{kept}").status_code == 200
    refused(jobs.writer.delete(f"/job/{job}"), 404)
    assert jobs.broker.subjects("EVENTS", f"event.*.{job}.*") == {f"event._.{job}.deleted"}

    jobs.controller.stop()
    for path in (jobs.directory / "controller").glob("index.sqlite*"):
        path.unlink()
    jobs.controller.start()
    jobs.controller.wait_for_output("answers at")
    jobs.wait_here(*NODES)
    refused(jobs.admin.get(f"/job/{job}"), 404)
    assert jobs.admin.get(f"/job/{kept}").status_code == 200


def is_gone(client: httpx.Client, path: str) -> bool:
    return client.get(path).status_code == 404


def test_what_goes_on_is_not_deleted(jobs: Cluster, gate: Gate, ask: Ask, held: str) -> None:
    job = job_id(ask("one", wait=0))
    assert "cancel" in jobs.writer.delete(f"/job/{job}").json()["details"]
    refused(jobs.writer.delete(f"/job/{job}"), 400)
    refused(jobs.reader.delete(f"/job/{job}"), 403)
    gate.open(held)
    jobs.ended(job)
    assert jobs.writer.delete(f"/job/{job}").status_code == 204


# Idempotency


def test_the_same_key_with_the_same_request_means_the_same_job(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = ask("_all", headers=key)
    job = job_id(first)
    assert ask("_all", headers=key).json() == first.json()
    other = ask("_all", headers=key, client=jobs.others[0])
    assert other.headers["Location"] == f"/job/{job}"
    assert statuses(other.json()) == dict.fromkeys(NODES, "ok")
    jobs.controller.kill()
    jobs.controller.start()
    jobs.controller.wait_for_output("answers at")
    jobs.wait_here(*NODES)
    assert job_id(ask("_all", headers=key)) == job
    assert [gate.begun(name, node) for node in NODES] == [1, 1, 1]


def test_a_key_is_known_though_its_node_takes_no_work_any_more(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    job = job_id(ask("two", headers=key))
    jobs.admin.post("/agent/two/drain")
    try:
        again = ask("two", headers=key)
        assert job_id(again) == job
        assert statuses(again.json()) == {"two": "ok"}
    finally:
        jobs.admin.post("/agent/two/undrain")
    assert gate.begun(name, "two") == 1


def test_many_requests_with_one_key_at_once_make_one_job(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    made = jobs.jobs_made()
    answers: list[httpx.Response] = []
    callers = [
        threading.Thread(
            target=lambda client=client: answers.append(ask("_all", headers=key, client=client))
        )
        for client in (jobs.admin, jobs.others[0]) * 4
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len({job_id(answer) for answer in answers}) == 1
    assert jobs.jobs_made() == made + 1
    assert [gate.begun(name, node) for node in NODES] == [1, 1, 1]


def test_a_key_stands_for_one_request_of_one_caller(jobs: Cluster, ask: Ask) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    job = job_id(ask("one", headers=key))
    for more in ({"body": {"fail": True}}, {"query": "?expires=7s"}):
        answer = ask("one", headers=key, **more)
        assert job in refused(answer, 409)
    refused(ask("two", headers=key), 409)
    eve = jobs.client(jobs.token("admin", subject="eve"))
    assert job_id(ask("one", headers=key, client=eve)) != job


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(jobs: Cluster, ask: Ask, key: str) -> None:
    made = jobs.jobs_made()
    refused(ask("one", headers={"Idempotency-Key": key}), 400)
    assert jobs.jobs_made() == made


# Listing


def test_a_list_tells_of_jobs_by_what_they_are(jobs: Cluster, ask: Ask) -> None:
    done, failed = job_id(ask("_all")), ask("one", body={"fail": True}).headers["Location"][5:]
    page = jobs.reader.get("/job?limit=2").json()
    assert [job["id"] for job in page["items"]] == [failed, done]
    assert page["items"][0]["status"] == "failed"
    assert "is broken" in page["items"][0]["error"]
    assert page["items"][1]["nodes"] == {"ok": 3}
    assert page["total_items"] == sum(page["status_counts"].values())

    def ids(query: str) -> list[str]:
        return [job["id"] for job in jobs.reader.get(f"/job?{query}").json()["items"]]

    assert ids("status=failed")[0] == failed
    assert done in ids("node=two&operation=gate.pass&caller=tests&target=_all&since=1h")
    assert failed not in ids("node=two&limit=100")
    assert ids("caller=nobody") == ids("until=1h") == ids("operation=none") == []


def test_a_job_made_at_one_controller_stands_in_the_list_of_the_other(
    jobs: Cluster, ask: Ask
) -> None:
    job = job_id(ask("one", wait=0))
    other = jobs.others[0]
    # Known at once by its id; listed as soon as the other has folded it.
    assert other.get(f"/job/{job}").status_code == 200
    assert job in [item["id"] for item in other.get("/job").json()["items"]]


def test_pages_go_on_where_the_last_one_ended(jobs: Cluster, ask: Ask) -> None:
    made = [job_id(ask("one")) for _ in range(5)]
    query = "limit=2"
    seen: list[str] = []
    while len(seen) < len(made):
        page = jobs.reader.get(f"/job?{query}").json()
        seen += [job["id"] for job in page["items"]]
        query = f"limit=2&cursor={page['next_cursor']}"
    assert seen[: len(made)] == made[::-1]
    (second,) = jobs.reader.get("/job?limit=1&offset=1").json()["items"]
    assert second["id"] == made[-2]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("status=bad", "status"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("offset=-1", "offset"),
        ("cursor=x", "cursor"),
        ("cursor=3&offset=1", "cursor"),
        ("node=nobody", "nobody"),
        ("since=yesterday", "since"),
        ("until=2030-01-01", "until"),
        ("colour=red", "colour"),
        ("limit=1&limit=2", "limit"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(jobs: Cluster, query: str, says: str) -> None:
    answer = jobs.reader.get(f"/job?{query}")
    refused(answer, 400)
    assert says in answer.text


# Events


class Listener:
    """Reads a stream of events in the background."""

    def __init__(self, client: httpx.Client, path: str, after: str | None = None) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.status = 0
        self.ended = False
        self._client = client
        self._path = path
        self._headers = {"Last-Event-ID": after} if after is not None else {}
        self._response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_until(lambda: self.status != 0, what="the stream's answer")

    def _read(self) -> None:
        asked = self._client.stream("GET", self._path, headers=self._headers)
        with suppress(httpx.TransportError), asked as response:
            self.status = response.status_code
            event: dict[str, str] = {}
            for line in response.iter_lines():
                if line:
                    field, _, value = line.partition(": ")
                    event[field] = value
                    continue
                if "data" in event:
                    told = (event["id"], event["event"], json.loads(event["data"]))
                    self.events.append(told)
                event = {}
        self.ended = True

    @property
    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.events]

    def until_end(self) -> list[str]:
        wait_until(lambda: self.ended, what="the stream's end")
        return self.kinds


def test_a_jobs_events_are_told_until_it_ends(
    jobs: Cluster, gate: Gate, ask: Ask, held: str
) -> None:
    job = job_id(ask("one", wait=0))
    listener = Listener(jobs.reader, f"/job/{job}/events")
    wait_until(lambda: listener.kinds == ["submitted", "started"], what="the start")
    assert not listener.ended
    gate.open(held)
    assert listener.until_end() == ["submitted", "started", "completed", "end"]
    assert {event["job_id"] for _, _, event in listener.events} == {job}
    _, _, completed = listener.events[2]
    assert (completed["hostname"], completed["data"]["times"]) == ("one", 1)
    _, _, end = listener.events[-1]
    assert (end["status"], end["nodes"]) == ("completed", {"ok": 1})

    late = Listener(jobs.others[0], f"/job/{job}/events")
    assert late.until_end() == ["submitted", "started", "completed", "end"]
    assert late.events == listener.events
    for number, (place, _, _) in enumerate(listener.events[:-2]):
        rest = Listener(jobs.reader, f"/job/{job}/events", after=place)
        rest.until_end()
        assert rest.events == listener.events[number + 1 :]
    assert Listener(jobs.reader, f"/job/{job}/events", after=end_place(listener)).status == 204


def end_place(listener: Listener) -> str:
    place, _, _ = listener.events[-1]
    return place


def test_a_cancellation_is_told(jobs: Cluster, gate: Gate, ask: Ask, held: str) -> None:
    job = job_id(ask("one", wait=0))
    wait_until(lambda: gate.begun(held, "one") == 1)
    listener = Listener(jobs.reader, f"/job/{job}/events")
    jobs.writer.post(f"/job/{job}/cancel")
    kinds = listener.until_end()
    assert kinds[-3:] == ["cancelling", "cancelled", "end"]


def test_the_stream_of_all_jobs_has_filters_and_goes_on_without_a_gap(
    jobs: Cluster, ask: Ask
) -> None:
    everything = Listener(jobs.reader, "/event")
    filtered = Listener(jobs.reader, "/event?operation=gate.once&event=submitted,completed")
    by_node = Listener(jobs.others[0], "/event?node=two")
    made = [job_id(ask("one", "once")), job_id(ask("two")), job_id(ask("one", "once"))]
    wait_until(lambda: everything.kinds.count("completed") == 3, what="all events")
    told = [event["job_id"] for _, kind, event in everything.events if kind == "submitted"]
    assert told == made
    wait_until(lambda: len(filtered.events) == 4, what="the events wanted")
    assert {event["job_id"] for _, _, event in filtered.events} == {made[0], made[2]}
    assert set(filtered.kinds) == {"submitted", "completed"}
    wait_until(lambda: "completed" in by_node.kinds)
    assert {event["job_id"] for _, _, event in by_node.events} == {made[1]}

    place, _, _ = everything.events[2]
    rest = Listener(jobs.reader, "/event", after=place)
    expected = everything.events[3:]
    wait_until(lambda: len(rest.events) >= len(expected), what="the rest")
    assert [event for _, _, event in rest.events] == [event for _, _, event in expected]


@pytest.mark.parametrize("place", ["x", "1-2", "-1", "9" * 30])
def test_a_place_that_is_none_is_refused(jobs: Cluster, ask: Ask, place: str) -> None:
    job = job_id(ask("one"))
    headers = {"Last-Event-ID": place}
    refused(jobs.reader.get(f"/job/{job}/events", headers=headers), 400)


def test_a_slow_reader_holds_up_nobody(jobs: Cluster, ask: Ask) -> None:
    with jobs.reader.stream("GET", "/event?since=1h") as never_read:
        assert never_read.status_code == 200
        for _ in range(20):
            job_id(ask("_all"))


def test_streams_end_when_the_controller_does(jobs: Cluster) -> None:
    listener = Listener(jobs.others[0], "/event")
    other = jobs.controllers[0]
    assert other.stop() == 0
    wait_until(lambda: listener.ended, what="the stream's end")
    other.start()
    other.wait_for_output("answers at")


def test_events_take_the_permission_to_read_jobs(jobs: Cluster, ask: Ask) -> None:
    job = job_id(ask("one"))
    poor = jobs.client(jobs.token("read", permissions=["docker:write"]))
    for path in ("/event", f"/job/{job}/events", "/job", f"/job/{job}"):
        assert "job:read" in refused(poor.get(path), 403)


# Draining


def is_drained(client: httpx.Client, node: str) -> bool:
    return bool(client.get(f"/agent/{node}").json()["state"] != "Ready")


def test_a_drained_node_takes_no_work_and_says_so(
    jobs: Cluster, gate: Gate, ask: Ask, held: str
) -> None:
    running = job_id(ask("two", wait=0))
    wait_until(lambda: gate.begun(held, "two") == 1)
    answer = jobs.admin.post("/agent/two/drain")
    assert answer.status_code == 200
    assert "two" in answer.json()["message"]
    try:
        for client in (jobs.admin, *jobs.others):
            wait_until(partial(is_drained, client, "two"), what="word of it")
        wait_until(lambda: jobs.admin.get("/agent/two").json()["state"] == "Draining")
        refused(jobs.admin.post("/agent/two/drain"), 409)
        assert "undrain" in ask("two").json()["details"]
        refused(ask("two"), 400)
        gate.open(held)
        assert statuses(jobs.ended(running)) == {"two": "ok"}
        wait_until(lambda: jobs.admin.get("/agent/two").json()["state"] == "Cordoned")

        answer = ask("_all")
        assert statuses(answer.json()) == {"one": "ok", "two": "skipped", "three": "ok"}
        for _ in range(8):
            (result,) = ask("_any").json()["results"]
            assert result["hostname"] != "two"
        assert jobs.reader.get("/node/two/load").json()["results"][0]["status"] == "ok"
        # It stays so over restarts of all parts.
        agent = jobs.agents["two"]
        agent.stop()
        agent.start()
        jobs.wait_here("two")
        assert jobs.admin.get("/agent/two").json()["state"] == "Cordoned"
    finally:
        gate.open(held)
        assert jobs.admin.post("/agent/two/undrain").status_code == 200
    refused(jobs.admin.post("/agent/two/undrain"), 409)
    assert statuses(ask("two").json()) == {"two": "ok"}
    moments = [moment["event"] for moment in jobs.admin.get("/agent/two").json()["timeline"]]
    assert "undrained" in moments


def test_to_drain_takes_its_permission_and_one_node(jobs: Cluster) -> None:
    for what in ("drain", "undrain"):
        assert "agent:write" in refused(jobs.writer.post(f"/agent/one/{what}"), 403)
        refused(jobs.admin.post(f"/agent/nobody/{what}"), 404)
        for target in ("_all", "_any", "group:gate", "a b"):
            refused(jobs.admin.post(f"/agent/{target}/{what}"), 400)


def test_one_node_is_told_by_name_and_by_machine_id(jobs: Cluster) -> None:
    node = jobs.reader.get("/agent/one").json()
    assert jobs.reader.get(f"/agent/{node['machine_id']}").json()["hostname"] == "one"
    assert node["state"] == "Ready"
    assert node["memory"]["total"] > node["memory"]["used"] > 0
    assert set(node["load_average"]) == {"1min", "5min", "15min"}
    refused(jobs.reader.get("/agent/nobody"), 404)
