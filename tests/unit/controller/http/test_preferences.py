"""What `Prefer` asks for (RFC 7240)."""

import pytest
from starlette.requests import Request

from towline.controller.http.preferences import Preferences, Waits, preferred

WAITS = Waits(30.0, 100.0)


def asked(*values: str, default: float | None = None) -> Preferences:
    """Return what a request with these `Prefer` headers prefers."""
    headers = [(b"prefer", value.encode()) for value in values]
    return preferred(Request({"type": "http", "headers": headers}), WAITS, default=default)


def test_what_is_usual_holds_where_nothing_is_asked() -> None:
    assert asked() == Preferences(30.0, "")
    assert asked(default=0.0) == Preferences(0.0, "")


@pytest.mark.parametrize(
    ("value", "wait", "applied"),
    [
        ("wait=10", 10.0, "wait=10"),
        ("wait=1000", 100.0, "wait=100"),
        ('WAIT="7"', 7.0, "wait=7"),
        ("respond-async", 0.0, "respond-async"),
        ("respond-async, wait=10", 10.0, "respond-async, wait=10"),
        ("wait=10, respond-async", 10.0, "respond-async, wait=10"),
        ("wait=0, respond-async", 0.0, "respond-async, wait=0"),
        ("wait=10, wait=20", 10.0, "wait=10"),
        ("handling=lenient, wait=5", 5.0, "wait=5"),
        ("wait=soon", 30.0, ""),
        ("wait=-1", 30.0, ""),
        ("wait=soon, respond-async", 0.0, "respond-async"),
    ],
)
def test_a_wait_and_an_answer_at_once_are_understood(value: str, wait: float, applied: str) -> None:
    assert asked(value) == Preferences(wait, applied)


@pytest.mark.parametrize("parts", [("respond-async", "wait=9"), ("wait=9", "respond-async")])
def test_the_order_of_preferences_means_nothing(parts: tuple[str, str]) -> None:
    expected = Preferences(9.0, "respond-async, wait=9")
    assert asked(", ".join(parts)) == asked(*parts) == expected
