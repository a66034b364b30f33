"""What `Prefer` asks for (RFC 7240)."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.datastructures import Headers

from towline.controller.options import Waits
from towline.endpoint import Context
from towline.options import Preference

CONTROLLER = SimpleNamespace(waits=Waits(30.0, 100.0))


def asked(*values: str, default: float | None = None) -> tuple[float, str]:
    """Return how long a request with these headers waits, and what its answer says of that."""
    headers = Headers(raw=[(b"prefer", value.encode()) for value in values])
    context = Context(cast(Any, CONTROLLER), None, headers)
    wait = context.wait(Preference(list(values)).wait, usual=default)
    return wait, context.applied


def test_what_is_usual_holds_where_nothing_is_asked() -> None:
    assert asked() == (30.0, "")
    assert asked(default=0.0) == (0.0, "")


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
    assert asked(value) == (wait, applied)


@pytest.mark.parametrize("parts", [("respond-async", "wait=9"), ("wait=9", "respond-async")])
def test_the_order_of_preferences_means_nothing(parts: tuple[str, str]) -> None:
    expected = (9.0, "respond-async, wait=9")
    assert asked(", ".join(parts)) == asked(*parts) == expected
