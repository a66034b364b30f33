"""How far a job is, as controllers and the client show it."""

import json
from typing import Any

import httpx

from tests.system.progress.pictures import NODES, a_report, begin, fetched, snapshot
from tests.testing.answers import refused
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until
from towline.client import AsyncClient, Client, Progress
from towline.wire.progress import DOWNLOADING, EXTRACTING, TaskProgress


def test_every_controller_shows_the_present_state_at_once(
    pair: Cluster, gate: Gate, held: str
) -> None:
    job = begin(pair, gate, held)
    for number, node in enumerate(NODES):
        gate.report(held, node, a_report(20 + number))
    expected = {"one": 20, "two": 21}
    # The nodes have nothing new to report when the first and when the second one are asked.
    for client in (pair.reader, *pair.others):

        def both_reported(client: httpx.Client = client) -> bool:
            return fetched(snapshot(client, job)) == expected

        wait_until(both_reported, what="both to be reported")
        picture = snapshot(client, job)
        assert picture["job_id"] == job
        assert picture["status"] == "processing"
        assert picture["total"]["nodes"] == {"running": 2}
        assert (picture["total"]["fetched"], picture["total"]["size"]) == (41, 200)
        assert (picture["total"]["rate"], picture["total"]["left"]) == (20, 7)
        assert picture["nodes"][0]["layers"] == [
            {"id": "1de5d1d5e9ce", "state": DOWNLOADING, "fetched": 20, "size": 100}
        ]


def test_a_stream_shows_what_changes_until_the_job_ends(
    pair: Cluster, gate: Gate, held: str
) -> None:
    job = begin(pair, gate, held)
    gate.report(held, "one", a_report(1))
    gate.report(held, "two", a_report(50))
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
            picture = json.loads(line.removeprefix("data: "))
            events.append((kind, picture))
            if kind == "end":
                continue
            last = {node["hostname"]: node.get("fetched") for node in picture.get("nodes", [])}
            known |= last
            if known == {"one": 1, "two": 50}:
                gate.report(held, "one", a_report(2))
            elif last.get("one") == 2:
                # Of the other node there was no news.
                assert "two" not in last
                gate.open(held)
    assert [kind for kind, _ in events] == ["progress"] * (len(events) - 1) + ["end"]
    assert events[-1][1] == {"job_id": job, "status": "completed", "nodes": {"ok": 2}}
    # Ended, it is shown all the same, and a stream that was read to its end does not begin again.
    assert snapshot(pair.reader, job)["total"] == {"nodes": {"ok": 2}, "complete": 1.0}
    again = pair.reader.get(f"/job/{job}/progress", headers={"Last-Event-ID": "end"})
    assert again.status_code == 204


def test_one_node_alone_may_be_followed(pair: Cluster, gate: Gate, held: str) -> None:
    job = begin(pair, gate, held)
    gate.report(held, "two", a_report(3))
    wait_until(lambda: fetched(snapshot(pair.reader, job, "?node=two")) == {"two": 3}, what="it")
    gate.open(held)
    pair.ended(job)


def test_a_node_that_goes_away_is_no_more_at_it(pair: Cluster, gate: Gate, held: str) -> None:
    job = begin(pair, gate, held)
    for node in NODES:
        gate.report(held, node, a_report(5))
    with Client(pair.url, pair.token("read")) as client:
        stream = client.progress(job)
        assert any(picture.total.fetched == 10 for picture in stream)
        pair.agents["two"].kill()
        for picture in stream:
            gone = [node for node in picture.nodes.values() if node.reason is not None]
            if gone:
                break
        assert gone[0].hostname == "two"
        assert "not reachable since" in str(gone[0].reason)
        assert picture.total.fetched == 5
        # It does again what it was at, and reports it.
        pair.agents["two"].start()
        assert any(
            [node.fetched for node in picture.nodes.values() if node.reason is None] == [5, 5]
            for picture in stream
        )
    gate.open(held)
    assert pair.ended(job)["status"] == "completed"


def test_after_the_broker_was_away_the_stream_goes_on(pair: Cluster, gate: Gate, held: str) -> None:
    job = begin(pair, gate, held)
    gate.report(held, "one", a_report(5))
    with Client(pair.url, pair.token("read")) as client:
        stream = client.progress(job)
        assert any(picture.total.fetched == 5 for picture in stream)
        pair.broker.stop()
        gate.report(held, "one", a_report(6))
        pair.broker.start()
        assert any(picture.total.fetched == 6 for picture in stream)
    gate.open(held)
    assert pair.ended(job)["status"] == "completed"
    pair.wait_here(*NODES)


def test_a_controller_listens_only_while_somebody_follows(
    pair: Cluster, gate: Gate, held: str
) -> None:
    job = begin(pair, gate, held)
    gate.report(held, "one", a_report(5))
    subject = f"progress.nobody.{job}"
    assert not pair.broker.has_subscribers(subject)
    with Client(pair.url, pair.token("read")) as client:
        stream = client.progress(job)
        assert any(picture.total.fetched == 5 for picture in stream)
        assert pair.broker.has_subscribers(subject)
    wait_until(lambda: not pair.broker.has_subscribers(subject), what="nobody to listen any more")


def test_progress_that_cannot_be_shown_is_refused(pair: Cluster, gate: Gate, held: str) -> None:
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


async def test_the_asyncio_client_shows_it_too(pair: Cluster, gate: Gate, held: str) -> None:
    job = begin(pair, gate, held)
    gate.report(held, "one", a_report(5))
    gate.report(held, "two", TaskProgress(EXTRACTING, fetched=100, size=100))
    last: Progress | None = None
    async with AsyncClient(pair.url, pair.token("read")) as client:
        async for picture in client.progress(job):
            if sorted(node.fetched for node in picture.nodes.values()) == [5, 100]:
                assert not picture.done
                gate.open(held)
            last = picture
    assert last is not None
    assert last.done
    assert {node.status for node in last.nodes.values()} == {"ok"}
