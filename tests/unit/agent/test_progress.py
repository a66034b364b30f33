"""When a report is sent."""

from towline.agent.progress import PACE, REPEAT_EVERY, _Told


def told(report: bytes, sent: bytes) -> _Told:
    made = _Told("progress.m.j")
    made.report, made.sent, made.sent_at = report, sent, 100.0
    return made


def test_the_first_one_is_sent_at_once() -> None:
    made = _Told("progress.m.j")
    made.report = b"1"
    assert made.due_at <= 0.0


def test_what_is_new_is_sent_but_not_more_than_two_a_second() -> None:
    assert PACE == 0.5
    assert told(b"2", sent=b"1").due_at == 100.5


def test_what_is_not_new_is_sent_again_only_now_and_then() -> None:
    assert told(b"1", sent=b"1").due_at == 100.0 + REPEAT_EVERY


def test_whoever_asks_hears_it_as_soon_as_anything_new_would_be_sent() -> None:
    assert told(b"1", sent=b"").due_at == 100.5
