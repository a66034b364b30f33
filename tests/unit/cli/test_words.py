"""How far nodes and jobs are, in words."""

import pytest

from tests.unit.cli.progress import a_node
from towline.cli.words import duration, in_words, sum_in_words
from towline.client import NodeProgress, Total


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (a_node(1, "pending"), "pending"),
        (a_node(1, "failed", error="denied"), "failed: denied"),
        (a_node(1, "pending", reason="waits: 10 at a time"), "pending: waits: 10 at a time"),
        (a_node(1, phase="queued", note="3 others first"), "queued, 3 others first"),
        (
            a_node(1, phase="downloading", attempt=2, fetched=1024, size=2048, unsized=3, left=9),
            "downloading, attempt 2, 1.00 KiB of more than 2.00 KiB, more than 9 s left",
        ),
        (
            a_node(1, phase="extracting", fetched=2048, size=2048, extracted=1024),
            "extracting, 1.00 KiB of 2.00 KiB",
        ),
        # All is unpacked, as the engine counts, and it still goes on.
        (
            a_node(1, phase="extracting", fetched=4, size=4, extracted=4, rate=2, left=0),
            "extracting, 4 bytes of 4 bytes, 2 bytes/s",
        ),
    ],
)
def test_a_node_is_described_in_words(node: NodeProgress, expected: str) -> None:
    assert in_words(node) == expected


def test_a_job_that_still_goes_on_has_never_0_seconds_left() -> None:
    total = Total({"running": 2}, 1.0, fetched=4, size=4, rate=2, left=0)
    assert sum_in_words(total) == "2 running, 4 bytes of 4 bytes, 2 bytes/s"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7380, "2 h 3 min")],
)
def test_durations_are_written_as_people_read_them(seconds: int, expected: str) -> None:
    assert duration(seconds) == expected
