"""Whose message it is says its subject, or it is nobody's."""

import pytest

from towline.wire.decoding import Unreadable
from towline.wire.subjects import (
    heartbeat_subject,
    machine_of,
    progress_subject,
    question_subject,
    report_subject,
)


def test_every_subject_of_a_node_says_whose_it_is() -> None:
    for subject in (
        report_subject("web-1"),
        report_subject("web-1", again=True),
        heartbeat_subject("web-1"),
        question_subject("web-1", "task"),
        progress_subject("web-1", "job"),
    ):
        assert machine_of(subject) == "web-1"


@pytest.mark.parametrize(
    "subject",
    [
        *("", "beat", "beat.", "beat..x", "beat._", "beat._all", "beat.*", "beat.>", "beat.a b"),
        *("beat.a\0", "beat.\udc80", "beat.é", "beat.-a", f"beat.{'a' * 65}", "beat.a\r\n"),
    ],
)
def test_a_subject_that_names_no_machine_is_unreadable(subject: str) -> None:
    with pytest.raises(Unreadable):
        machine_of(subject)
