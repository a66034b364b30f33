"""When the progress of a task is sent."""

from towline.agent.progress import PACE, Progress


def progress(newest: bytes, sent: bytes) -> Progress:
    made = Progress("progress.m.j", pace=0.5, repeat_every=10.0)
    made.newest, made.sent, made.sent_at = newest, sent, 100.0
    return made


def test_the_first_one_is_sent_at_once() -> None:
    made = Progress("progress.m.j")
    made.newest = b"1"
    assert made.due_at <= 0.0


def test_what_is_new_is_sent_but_not_more_than_two_a_second() -> None:
    assert PACE == 0.5
    assert progress(b"2", sent=b"1").due_at == 100.5


def test_what_is_not_new_is_sent_again_only_now_and_then() -> None:
    assert progress(b"1", sent=b"1").due_at == 110.0


def test_whoever_asks_is_answered_as_soon_as_anything_new_would_be_sent() -> None:
    assert progress(b"1", sent=b"").due_at == 100.5
