"""What `Prefer` asks for (RFC 7240)."""

import pytest
from starlette.requests import Request

from towline.controller.http.request import Preferences, Waits, preferences

WAITS = Waits(30.0, 100.0)


def preferred(*values: str, default: float | None = None) -> Preferences:
    """Return what a request with these `Prefer` headers prefers."""
    headers = [(b"prefer", value.encode()) for value in values]
    return preferences(Request({"type": "http", "headers": headers}), WAITS, default=default)


def test_what_is_usual_holds_where_nothing_is_preferred() -> None:
    assert preferred() == Preferences(30.0, "")
    assert preferred(default=0.0) == Preferences(0.0, "")


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
    assert preferred(value) == Preferences(wait, applied)


@pytest.mark.parametrize("parts", [("respond-async", "wait=9"), ("wait=9", "respond-async")])
def test_the_order_of_preferences_means_nothing(parts: tuple[str, str]) -> None:
    expected = Preferences(9.0, "respond-async, wait=9")
    assert preferred(", ".join(parts)) == preferred(*parts) == expected
