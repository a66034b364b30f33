"""Cooldowns of registries: which one is in force after a request that was refused."""

from typing import Any

import msgspec
import pytest

from towline.wire.cooldown import (
    FIRST,
    LONGEST,
    LONGEST_ASKED,
    LONGEST_REASON,
    LONGEST_RETURN,
    Cooldown,
    Refusal,
    in_force,
)

REGISTRY = "registry.example:5000"
NOW = 1_800_000_000.0


def refused(**more: Any) -> Refusal:
    return Refusal(REGISTRY, "web-01", "toomanyrequests", **more)


def begun(row: int = 1, **more: Any) -> Cooldown:
    """Return a cooldown that began 100 s ago and lasts 50 s more, and 10 s of return."""
    last = Cooldown(REGISTRY, NOW - 100, NOW + 50, NOW + 60, row, "web-07", "slow down")
    return msgspec.structs.replace(last, **more)


def test_the_first_refusal_begins_a_cooldown_and_a_return_as_long_as_the_job_has_nodes() -> None:
    found = in_force(None, refused(nodes=40), NOW, interval=0.5)
    assert found == Cooldown(
        REGISTRY, NOW, NOW + FIRST, NOW + FIRST + 20, 1, "web-01", "toomanyrequests"
    )


@pytest.mark.parametrize("known", [None, NOW - 5000])
def test_a_refusal_of_a_request_that_was_made_before_changes_nothing(known: float | None) -> None:
    last = begun()
    assert in_force(last, refused(known=known, asked=7.0), NOW) == last
    # Nor does one that comes while nodes return.
    assert in_force(last, refused(known=known), NOW + 55) == last


def test_each_in_a_row_is_twice_as_long_and_has_twice_the_return() -> None:
    last: Cooldown | None = None
    now, spans = NOW, []
    for _ in range(9):
        known = None if last is None else last.since
        last = in_force(last, refused(known=known, nodes=4), now, interval=0.5)
        spans.append((last.row, last.until - last.since, last.over - last.until))
        now = last.until + 0.5
    assert spans[:4] == [(1, 15.0, 2.0), (2, 30.0, 4.0), (3, 60.0, 8.0), (4, 120.0, 16.0)]
    assert spans[-1] == (9, LONGEST, 512.0)


def test_one_that_begins_long_after_the_last_is_the_first_of_a_row_again() -> None:
    last = begun(row=5)
    assert in_force(last, refused(known=last.since), last.over + LONGEST - 1).row == 6
    assert in_force(last, refused(known=last.since), last.over + LONGEST).row == 1
    assert in_force(last, refused(), last.over + LONGEST).row == 1


@pytest.mark.parametrize(
    ("row", "asked", "seconds"),
    [(1, 30.0, 30.0), (1, 0.0, 1.0), (5, 0.5, 16.0), (5, 600.0, 600.0), (2, 1e9, LONGEST_ASKED)],
)
def test_what_the_registry_asks_for_counts_unless_that_has_not_helped(
    row: int, asked: float, seconds: float
) -> None:
    last = None if row == 1 else begun(row - 1, until=NOW - 1)
    known = None if last is None else last.since
    found = in_force(last, refused(known=known, asked=asked), NOW)
    assert (found.row, found.until - found.since) == (row, seconds)


@pytest.mark.parametrize(("asked", "seconds"), [(7.0, 7.0), (600.0, 600.0)])
def test_who_knows_of_it_settles_how_long_the_registry_asks_for(
    asked: float, seconds: float
) -> None:
    last = begun()
    found = in_force(last, refused(known=last.since, asked=asked, nodes=8), NOW, interval=0.5)
    assert found == msgspec.structs.replace(
        last, until=last.since + seconds, over=last.since + seconds + 4
    )
    # Where it doesn't say, nothing is settled.
    assert in_force(last, refused(known=last.since), NOW) == last


def test_no_two_begin_at_the_same_moment_whatever_the_clock_shows() -> None:
    last = begun(since=NOW, until=NOW - 1)
    found = in_force(last, refused(known=NOW), NOW - 0.5)
    assert found.since > last.since
    assert found.row == 2


def test_nothing_of_it_grows_without_end() -> None:
    last = begun(row=2**53, until=NOW - 1)
    found = in_force(
        last,
        msgspec.structs.replace(refused(known=last.since, nodes=2**53), reason="x" * 9000),
        NOW,
    )
    assert found.until - found.since == LONGEST
    assert found.over - found.until == LONGEST_RETURN
    assert len(found.reason) == LONGEST_REASON
