"""Streams of events as both clients follow them: what ends one, and what does not."""

from __future__ import annotations

import asyncio
import json

import httpx
import httpx_sse
import pytest

from tests.unit.stub import Answer, StubController, events
from towline.client import ApiError, AsyncClient, Client, calls
from towline.client.options import USUAL
from towline.client.streams import (
    AT_ONCE,
    LONGEST_AWAY,
    LONGEST_RETRY,
    MOST_EMPTY,
    EventStream,
)
from towline.endpoints.events import of_job
from towline.endpoints.views import JobEvent

JOB = "0199a0c0-0000-7000-8000-000000000001"
PATH = f"GET /job/{JOB}/events"
STREAM = "text/event-stream"
FIRST = {"job_id": JOB}
BUSY = Answer({"error": "Busy.", "details": "", "code": 503}, 503)
FULL = Answer({"error": "Full.", "details": "", "code": 429}, 429)


def followed(controller: StubController, *, sync: bool) -> list[tuple[str, str]]:
    """Return the ids and kinds of a job's events until the stream ends."""
    if sync:
        with Client(controller.url, "token") as client:
            return [(event.id, event.kind) for event in client.job_events(JOB)]

    async def follow() -> list[tuple[str, str]]:
        async with AsyncClient(controller.url, "token") as client:
            return [(event.id, event.kind) async for event in client.job_events(JOB)]

    return asyncio.run(follow())


def after(controller: StubController) -> list[str | None]:
    """Return behind which event each request was to go on."""
    return [asked.headers.get("last-event-id") for asked in controller.asked]


both = pytest.mark.parametrize("sync", [True, False], ids=["plain", "asyncio"])


@both
@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (Answer("<h1>Welcome</h1>", content_type="text/html"), "no controller"),
        (Answer({"job_id": JOB}), "no controller"),
        (Answer({"error": "No.", "details": "", "code": 403}, 403), "No."),
        (Answer({"error": "Gone.", "details": "", "code": 404}, 404), "Gone."),
        (BUSY, "Busy."),
        (FULL, "Full."),
        (Answer("data: {\n\n", content_type=STREAM), "can't be read"),
        (Answer("data: []\n\n", content_type=STREAM), "can't be read"),
        (Answer("x" * 20, 200, STREAM, {"Content-Encoding": "gzip"}), "does not answer"),
    ],
)
def test_what_would_fail_alike_again_is_an_error(
    controller: StubController, answer: Answer, word: str, *, sync: bool
) -> None:
    controller.default = answer
    with pytest.raises(ApiError, match=word):
        followed(controller, sync=sync)
    assert len(controller.asked) == 1


@both
def test_a_stream_that_is_said_to_have_ended_is_not_asked_for_again(
    controller: StubController, *, sync: bool
) -> None:
    controller.default = Answer(
        f"id: 1\ndata: {json.dumps(FIRST)}\n\nevent: end\n\n", content_type=STREAM
    )
    assert followed(controller, sync=sync) == [("1", "")]
    assert len(controller.asked) == 1


@both
@pytest.mark.parametrize("passing", [BUSY, FULL], ids=["busy", "full"])
def test_a_stream_outlives_a_controller_that_is_started_again(
    controller: StubController, passing: Answer, *, sync: bool
) -> None:
    begin = events(("started", FIRST))
    cut = Answer(f"{begin.body}id: 2\nevent: step\nda", content_type=STREAM, length=10_000)
    bare = Answer(f"event: step\ndata: {json.dumps(FIRST)}\n\n", content_type=STREAM)
    end = Answer(f"id: 3\nevent: end\ndata: {json.dumps(FIRST)}\n\n", content_type=STREAM)
    controller.answers = {f"GET /job/{JOB}/events": [cut, passing, bare, end]}
    assert followed(controller, sync=sync) == [("1", "started"), ("", "step"), ("3", "end")]
    assert after(controller) == [None, "1", "1", "1"]


@both
def test_a_stream_that_is_refused_later_ends_with_the_refusal(
    controller: StubController, *, sync: bool
) -> None:
    gone = Answer({"error": "Gone.", "details": "", "code": 404}, 404)
    controller.answers = {f"GET /job/{JOB}/events": [events(("started", FIRST)), gone]}
    with pytest.raises(ApiError, match="Gone"):
        followed(controller, sync=sync)
    assert after(controller) == [None, "1"]


@both
def test_events_of_a_newer_controller_are_taken(controller: StubController, *, sync: bool) -> None:
    controller.default = events(("paused-by-moon", {**FIRST, "moon": {"phase": 1}}), ("end", FIRST))
    assert followed(controller, sync=sync) == [("1", "paused-by-moon"), ("2", "end")]


def accepted_and_broken_off(
    stream: EventStream[JobEvent], clock: list[float], lasts: float
) -> float:
    """Have a stream accepted and broken off; return how long to wait then."""
    request = httpx.Request("GET", "http://controller")
    assert stream.check(httpx.Response(200, headers={"Content-Type": STREAM}, request=request))
    clock[0] += lasts
    return stream.pause()


def test_a_stream_that_is_broken_off_at_once_is_asked_for_ever_more_seldom_and_given_up() -> None:
    clock = [0.0]
    asked = calls.of(of_job, {"id": JOB}, USUAL)
    stream = EventStream(of_job, asked, lambda: clock[0])
    pauses = [accepted_and_broken_off(stream, clock, 0.1) for _ in range(MOST_EMPTY - 1)]
    assert pauses[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_RETRY]
    assert pauses[-1] == LONGEST_RETRY
    with pytest.raises(ApiError, match="broken off at once"):
        accepted_and_broken_off(stream, clock, 0.1)


def test_a_stream_that_lasts_or_has_something_in_it_is_asked_for_without_end() -> None:
    clock = [0.0]
    asked = calls.of(of_job, {"id": JOB}, USUAL)
    stream = EventStream(of_job, asked, lambda: clock[0])
    for _ in range(2 * MOST_EMPTY):
        assert accepted_and_broken_off(stream, clock, AT_ONCE) == 1.0
    for _ in range(MOST_EMPTY):
        accepted_and_broken_off(stream, clock, 0.1)
        stream.read(httpx_sse.ServerSentEvent(data=json.dumps(FIRST), id="1"))
        assert stream.pause() == 1.0
    # Where nothing happens for weeks, many are broken off, and none in a row.
    for _ in range(2 * MOST_EMPTY):
        accepted_and_broken_off(stream, clock, 0.1)
        accepted_and_broken_off(stream, clock, 3600.0)


def test_a_stream_whose_controller_is_gone_for_good_is_given_up() -> None:
    clock = [0.0]
    stream = EventStream(of_job, calls.of(of_job, {"id": JOB}, USUAL), lambda: clock[0])
    gone = httpx.ConnectError("refused")
    assert not stream.outlives(gone)
    accepted_and_broken_off(stream, clock, 3600.0)
    for _ in range(3):
        assert stream.outlives(httpx.ReadError("broken off"))
        clock[0] += LONGEST_AWAY - 1.0
        assert stream.outlives(gone)
        # One answer is enough, whatever it says.
        accepted_and_broken_off(stream, clock, 3600.0)
    assert stream.outlives(gone)
    clock[0] += LONGEST_AWAY
    assert not stream.outlives(gone)
