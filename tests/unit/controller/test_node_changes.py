"""What has changed about nodes since somebody last asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.testing.jobs import LONG_AGO
from towline.controller import node_changes
from towline.controller.fleet import Fleet
from towline.controller.node_changes import Changed, NodeChanges
from towline.wire.facts import Facts
from towline.wire.node import Condition, Conditions, Heartbeat, NodeState, Registration

START = "1" * 16
NODE = Registration("m1", "web-01", "0.2.0", LONG_AGO, LONG_AGO, {"group": "web"})
BEAT = Heartbeat(START, 5.0, capabilities={"docker": ""})


class Watched:
    """Two nodes that are here, and what is known of their changes."""

    def __init__(self, **more: Any) -> None:
        self.fleet = Fleet()
        self.dropped: Counter[str] = Counter()
        self.now = 0.0
        for machine in ("m1", "m2"):
            self.fleet.register(msgspec.structs.replace(NODE, machine=machine, hostname=machine))
        self.register()
        self.beat()
        self.changes = NodeChanges(self.fleet, self.dropped, clock=lambda: self.now, **more)

    def beat(self, **more: Any) -> None:
        self.fleet.receive("m1", msgspec.structs.replace(BEAT, **more))

    def register(self, **more: Any) -> None:
        self.fleet.register(msgspec.structs.replace(NODE, **more))

    def remove(self, machine: str) -> None:
        self.fleet.decide(machine, NodeState(removed=LONG_AGO + 1))

    def changed(self, cursor: str) -> Changed | None:
        self.now += 60.0
        return self.changes.since(cursor)


FULL = Conditions(disk_pressure=Condition(LONG_AGO, status=True, reason="97 %"))
NEWS: dict[str, Callable[[Watched], object]] = {
    "away": lambda each: each.beat(leaving=True),
    "trouble": lambda each: each.beat(capabilities={"docker": "no answer"}),
    "short of something": lambda each: each.beat(conditions=FULL),
    "refused": lambda each: each.beat(refused=1),
    "busy": lambda each: each.beat(running=1),
    "drained": lambda each: each.fleet.decide("m1", NodeState(drained=LONG_AGO)),
    "renamed": lambda each: each.register(hostname="web-02"),
    "labelled": lambda each: each.register(labels={"group": "db"}),
    "updated": lambda each: each.register(version="0.3.0"),
    "copied": lambda each: each.fleet.second_seen("m1"),
    "floods": lambda each: each.dropped.update(m1=1),
}
NO_NEWS: dict[str, Callable[[Watched], object]] = {
    "nothing": lambda _: None,
    "heartbeat": Watched.beat,
    "figures": lambda each: each.beat(load=(1.0, 2.0, 3.0), memory=(3, 2, 1)),
    "facts": lambda each: each.register(facts=Facts(kernel="6.2")),
    "more tasks": lambda each: each.dropped.update(m3=1),
}


@pytest.mark.parametrize("news", NEWS)
def test_what_lists_show_is_a_change(news: str) -> None:
    watched = Watched()
    cursor = watched.changes.cursor()
    NEWS[news](watched)
    assert watched.changed(cursor) == Changed(["m1"], [])
    watched.now += 60.0
    assert watched.changed(watched.changes.cursor()) == Changed([], [])


@pytest.mark.parametrize("news", NO_NEWS)
def test_what_they_do_not_show_is_none(news: str) -> None:
    watched = Watched()
    cursor = watched.changes.cursor()
    NO_NEWS[news](watched)
    assert watched.changed(cursor) == Changed([], [])


def test_each_watcher_is_told_what_is_news_to_it() -> None:
    watched = Watched()
    first = watched.changes.cursor()
    watched.beat(running=1)
    watched.now += 60.0
    second = watched.changes.cursor()
    watched.remove("m2")
    assert watched.changed(first) == Changed(["m1"], ["m2"])
    assert watched.changed(second) == Changed([], ["m2"])


def test_a_node_that_came_back_is_not_gone() -> None:
    watched = Watched()
    cursor = watched.changes.cursor()
    watched.remove("m1")
    assert watched.changed(cursor) == Changed([], ["m1"])
    watched.fleet.decide("m1", NodeState())
    watched.register()
    assert watched.changed(cursor) == Changed(["m1"], [])


def test_nodes_are_looked_at_once_in_a_while_however_many_ask() -> None:
    watched = Watched()
    cursor = watched.changes.cursor()
    watched.beat(running=1)
    assert watched.changes.since(cursor) == Changed([], [])
    watched.now += node_changes.LOOK_EVERY
    assert watched.changes.since(cursor) == Changed(["m1"], [])


@pytest.mark.parametrize(
    "cursor", ["", "0", "x-1", "{start}-", "{start}-x", "{start}-²", "{start}-7"]
)
def test_a_cursor_that_is_none_of_this_controller_tells_nothing(cursor: str) -> None:
    watched = Watched()
    start, _, _ = watched.changes.cursor().partition("-")
    assert watched.changed(cursor.format(start=start)) is None


def test_whoever_asked_before_nodes_went_that_are_forgotten_is_sent_all() -> None:
    watched = Watched(most_gone=1)
    cursor = watched.changes.cursor()
    for machine in ("m1", "m2"):
        watched.remove(machine)
        watched.now += 60.0
        last = watched.changes.cursor()
    assert watched.changed(cursor) is None
    assert watched.changed(last) == Changed([], [])
