"""The picture of a job: what a follower is sent of it, and how much at a time."""

import time

import msgspec
import pytest

from towline.controller.jobs.state import JobState
from towline.controller.progress.picture import BRIEF, FEW, NAMED, Feed, Picture
from towline.wire.event import (
    CANCELLED,
    COMPLETED,
    FAILED,
    LEAVE,
    NOBODY,
    STARTED,
    Event,
    NamedNode,
)
from towline.wire.job import Job, PlannedNode
from towline.wire.progress import DOWNLOADING, EXTRACTING, NodeProgress, Part, TaskProgress


def a_picture(nodes: int) -> Picture:
    now = time.time()
    plan = [PlannedNode(f"m{n}", f"web-{n}") for n in range(nodes)]
    job = Job("j", "docker.pull.execute", {"image": "app"}, "_all", "me", now, now + 60, plan=plan)
    return Picture(JobState(job))


def an_event(kind: str, node: int, error: str | None = None) -> Event:
    return Event("j", f"m{node}", f"web-{node}", kind, time.time(), error=error)


def a_report(fetched: int, size: int, rate: int = 0, left: int | None = None) -> TaskProgress:
    parts = [Part("a", DOWNLOADING, fetched, size)]
    return TaskProgress(DOWNLOADING, parts=parts, fetched=fetched, size=size, rate=rate, left=left)


def read(sent: list[msgspec.Raw]) -> list[NodeProgress]:
    return [msgspec.json.decode(each, type=NodeProgress) for each in sent]


def take(feed: Feed, budget: int = 10**6) -> list[NodeProgress]:
    return read(feed.take(budget))


def test_who_comes_late_is_sent_the_present_state() -> None:
    picture = a_picture(2)
    picture.apply(an_event(STARTED, 0))
    picture.report("m0", a_report(10, 100, 5, 18))
    sent = take(picture.follow())
    assert [(node.hostname, node.status, node.fetched) for node in sent] == [
        ("web-0", "running", 10),
        ("web-1", "pending", 0),
    ]
    assert sent[0].parts[0].id == "a"


def test_only_what_has_changed_is_sent() -> None:
    picture = a_picture(3)
    feed = picture.follow()
    assert len(take(feed)) == 3
    assert not feed
    picture.report("m1", a_report(10, 100))
    picture.report("m1", a_report(20, 100))
    assert [(node.hostname, node.fetched) for node in take(feed)] == [("web-1", 20)]
    picture.report("m1", a_report(20, 100))
    assert take(feed) == []


def test_of_what_does_not_fit_the_oldest_news_come_first() -> None:
    picture = a_picture(50)
    feed = picture.follow()
    take(feed)
    for node in range(50):
        picture.report(f"m{node}", a_report(1, 100))
    size = len(msgspec.json.encode(picture.node("m10"))) + 1
    first = take(feed, 20 * size)
    for node in range(50):  # news of all of them, again
        picture.report(f"m{node}", a_report(2, 100))
    rest = [node.hostname for _ in range(2) for node in take(feed, 20 * size)]
    assert len(first) >= 20
    assert rest[: 50 - len(first)] == [f"web-{n}" for n in range(len(first), 50)]


@pytest.mark.parametrize("budget", [1, 400, 5000])
def test_no_more_is_sent_at_a_time_than_is_allowed(budget: int) -> None:
    picture = a_picture(200)
    feed = picture.follow()
    seen: list[str] = []
    while feed:
        sent = feed.take(budget)
        assert sent
        # One is sent, however large.
        assert len(sent) == 1 or sum(len(bytes(each)) + 1 for each in sent) <= budget
        seen += [node.hostname for node in read(sent)]
    assert sorted(seen) == sorted(f"web-{n}" for n in range(200))


def test_layers_are_sent_of_few_nodes_or_of_one_that_is_asked_for() -> None:
    for nodes, layers in ((FEW, 1), (FEW + 1, 0)):
        picture = a_picture(nodes)
        picture.report("m1", a_report(10, 100))
        sent = {node.hostname: node for node in take(picture.follow())}
        assert len(sent["web-1"].parts) == layers
        assert len(picture.snapshot().nodes[1].parts) == layers
    (one,) = take(picture.follow("m1"))
    assert len(one.parts) == 1
    assert [len(node.parts) for node in picture.snapshot("m1").nodes] == [1]


def test_the_sum_is_of_the_nodes_that_are_at_it() -> None:
    picture = a_picture(4)
    picture.report("m0", a_report(10, 100, rate=5, left=18))
    picture.report("m1", a_report(50, 100, rate=50, left=1))
    picture.apply(an_event(COMPLETED, 2))
    total = picture.total()
    assert total.nodes == {"running": 2, "ok": 1, "pending": 1}
    assert (total.fetched, total.size, total.rate, total.left) == (60, 200, 55, 18)
    assert total.complete == (0.1 + 0.5 + 1) / 4
    assert [node.hostname for node in total.slowest] == ["web-0", "web-1"]


def test_without_an_end_in_sight_for_one_node_there_is_none_for_all() -> None:
    picture = a_picture(2)
    picture.report("m0", a_report(10, 100, rate=5, left=18))
    picture.report("m1", a_report(0, 0))
    assert picture.total().left is None
    assert picture.total().slowest[0].hostname == "web-1"


def test_a_share_is_shown_only_of_layers_whose_size_is_known() -> None:
    picture = a_picture(1)
    parts = [Part("a", DOWNLOADING, 50, 100), Part("b", "waiting")]
    report = TaskProgress(DOWNLOADING, parts=parts, fetched=50, size=100, unsized=1)
    picture.report("m0", report)
    assert picture.total().complete == 0.25


def test_a_node_that_has_ended_has_no_report_any_more() -> None:
    picture = a_picture(2)
    picture.report("m0", a_report(10, 100, rate=5))
    feed = picture.follow()
    take(feed)
    picture.apply(an_event(FAILED, 0, "denied"))
    (sent,) = take(feed)
    assert (sent.status, sent.error, sent.phase, sent.rate) == ("failed", "denied", None, 0)
    picture.report("m0", a_report(20, 100))  # one that was under way
    assert take(feed) == []
    assert picture.total().rate == 0
    assert [node.hostname for node in picture.total().failed] == ["web-0"]


def test_a_report_of_a_machine_that_has_no_part_in_the_job_counts_for_nothing() -> None:
    picture = a_picture(1)
    picture.report("stranger", a_report(10, 100))
    assert picture.total().nodes == {"pending": 1}


def test_the_failed_are_named_the_last_ones_first_and_only_a_few() -> None:
    picture = a_picture(30)
    for node in range(20):
        picture.apply(an_event(FAILED, node, "denied"))
    picture.apply(an_event(CANCELLED, 20, "cancelled"))
    named = [node.hostname for node in picture.total().failed]
    assert named == [f"web-{n}" for n in range(20, 20 - NAMED, -1)]
    # At another controller, from the journal alone.
    other = Picture(picture.state)
    assert len(other.total().failed) == NAMED


def test_nodes_that_run_and_have_reported_nothing_are_asked_again() -> None:
    picture = a_picture(2)
    assert picture.silent == set()
    picture.apply(an_event(STARTED, 0))
    assert picture.silent == {"m0"}
    picture.report("m0", TaskProgress(EXTRACTING))
    assert picture.silent == set()


def test_that_a_node_is_away_is_news_and_so_is_that_it_has_begun() -> None:
    picture = a_picture(1)
    feed = picture.follow()
    take(feed)
    assert not picture.explained()
    assert not feed
    picture.state.tasks["m0"].reason = "not reachable"
    assert picture.explained()
    assert [(node.error, node.reason) for node in take(feed)] == [(None, "not reachable")]
    picture.apply(an_event(STARTED, 0))
    assert [(node.status, node.reason) for node in take(feed)] == [("running", None)]


def test_the_sum_names_the_reason_of_what_was_cancelled() -> None:
    picture = a_picture(1)
    picture.apply(an_event(CANCELLED, 0, error="cancelled by ann"))
    (node,) = picture.total().failed
    assert (node.status, node.error, node.reason) == ("cancelled", None, "cancelled by ann")


def test_the_sum_shows_only_the_beginning_of_a_long_error() -> None:
    picture = a_picture(2)
    feed = picture.follow()
    take(feed)
    words = "unexpected status: " + "<html>" * 2000
    picture.apply(an_event(FAILED, 0, error=words))
    (failed,) = picture.total().failed
    assert failed.error is not None
    assert len(failed.error) == BRIEF
    assert words.startswith(failed.error.removesuffix("…"))
    assert [node.error for node in take(feed)] == [words]


def test_a_node_that_has_leave_is_asked_how_far_it_is() -> None:
    picture = a_picture(2)
    named = [NamedNode("m1", "web-1")]
    picture.apply(Event("j", NOBODY, "", LEAVE, time.time(), nodes=named))
    assert picture.silent == {"m1"}
    assert picture.node("m1").status == "running"
