import pytest

from towline.units import timestamp


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (0.25, "1970-01-01T00:00:00.250Z"),
        (1_700_000_000.9999, "2023-11-14T22:13:20.999Z"),
        (-1, "1969-12-31T23:59:59.000Z"),
    ],
)
def test_a_moment_is_shown_in_utc_to_the_millisecond(seconds: float, text: str) -> None:
    assert timestamp(seconds) == text


@pytest.mark.parametrize("seconds", [1e12, -1e12, 1e30])
def test_a_moment_outside_of_the_calendar_is_refused(seconds: float) -> None:
    with pytest.raises((OverflowError, ValueError, OSError)):
        timestamp(seconds)
