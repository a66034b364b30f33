"""How long the command line watches a job, and what it brings together."""

from collections.abc import Iterator

import pytest

from tests.unit.cli.progress import a_job, a_node
from towline.cli.watch import merged, waitable
from towline.client import NodeProgress, Total


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([a_node(1), a_node(2, "ok")], True),
        ([a_node(1, "pending")], True),
        ([a_node(1, "pending", reason="waits", waits="canary")], True),
        ([a_node(1, "pending", reason="not reachable since"), a_node(2, "ok")], False),
        ([a_node(1, "ok"), a_node(2, "failed", error="denied")], False),
    ],
)
def test_nobody_waits_for_nodes_that_are_away(nodes: list[NodeProgress], expected: bool) -> None:
    assert waitable(a_job(*nodes)) is expected


def test_while_not_all_nodes_are_known_there_may_be_more() -> None:
    assert waitable(a_job(a_node(1, "ok"), total=Total({"ok": 2}, 1.0)))


def test_streams_are_merged_until_all_have_ended() -> None:
    found = [each for each in merged(("a", lambda: "12"), ("b", lambda: "3"), seconds=9) if each]
    assert sorted(found) == [("a", "1"), ("a", "2"), ("b", "3")]


def test_what_a_stream_raises_is_raised() -> None:
    def broken() -> Iterator[str]:
        yield "1"
        raise ValueError("broken")

    stream = iter(merged(("a", broken), seconds=9))
    assert next(stream) == ("a", "1")
    with pytest.raises(ValueError, match="broken"):
        next(stream)
