"""The events of jobs as streams."""

import pytest

from tests.system.jobs.asking import Ask, Listener, job_id
from tests.testing.answers import refused
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until


def test_a_jobs_events_are_streamed_until_it_ends(
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


def test_a_cancellation_is_among_the_events(jobs: Cluster, gate: Gate, ask: Ask, held: str) -> None:
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
    ids = [event["job_id"] for _, kind, event in everything.events if kind == "submitted"]
    assert ids == made
    wait_until(lambda: len(filtered.events) == 4, what="the events wanted")
    assert {event["job_id"] for _, _, event in filtered.events} == {made[0], made[2]}
    assert set(filtered.kinds) == {"submitted", "completed"}
    wait_until(lambda: "completed" in by_node.kinds)
    assert {event["job_id"] for _, _, event in by_node.events} == {made[1]}

    place, _, _ = everything.events[2]
    rest = Listener(jobs.reader, "/event", after=place)
    expected = everything.events[3:]
    wait_until(lambda: len(rest.events) >= len(expected), what="the rest")
    # Jobs and events have a stream each: each is in order, their mixture depends on the moment.
    for submitted in (True, False):
        again, before = (
            [event for _, kind, event in events if (kind == "submitted") == submitted]
            for events in (rest.events, expected)
        )
        assert again == before


@pytest.mark.parametrize("place", ["x", "1", "1-2-3", "-1", "9" * 30])
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
