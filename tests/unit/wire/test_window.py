import doctest
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.wire import window
from towline.wire.window import DAYS, LONGEST, MOST_SPANS, InvalidWindow, Span, Window

BERLIN = "Europe/Berlin"
ZONES = (BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")
"""Clocks that are moved by an hour, or by half of one; north and south; and that never are."""
MINUTE = 60
CHANGES = {
    BERLIN: ("2030-03-31T01:00", "2030-10-27T01:00"),
    "America/New_York": ("2030-03-10T07:00", "2030-11-03T06:00"),
    "Australia/Lord_Howe": ("2030-10-05T15:30", "2030-04-06T15:00"),
}
"""When they are put forward, and back: in UTC."""


def moment(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def wall(at: float | None, zone: str = BERLIN) -> str:
    assert at is not None
    return datetime.fromtimestamp(at, ZoneInfo(zone)).isoformat()


spans = st.builds(
    lambda days, start, length, zone: Span(
        tuple(sorted(days)), start, (start + length) % 1440 or 1440, zone
    ),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(1, 1439),
    st.sampled_from(ZONES),
)
windows = st.builds(lambda found: Window(tuple(found)), st.lists(spans, min_size=1, max_size=3))
near_changes = st.builds(
    lambda texts, which, minutes: moment(texts[which]) + minutes * MINUTE,
    st.sampled_from(list(CHANGES.values())),
    st.integers(0, 1),
    st.integers(-2 * 1440, 1440),
)
moments = near_changes | st.integers(1_900_000_000 // MINUTE, 2_000_000_000 // MINUTE).map(
    lambda minutes: float(minutes * MINUTE)
)


def test_the_examples_are_true() -> None:
    assert doctest.testmod(window).failed == 0


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("02:00-04:00 Europe/Berlin", None),
        ("Mon-Fri 22:00-06:00 UTC", None),
        ("sat,SUN 00:00-24:00 Asia/Tokyo", "Sat,Sun 00:00-24:00 Asia/Tokyo"),
        ("Mon-Sun 01:00-02:00 UTC", "01:00-02:00 UTC"),
        ("Fri-Mon  01:00-02:00   UTC ;Wed 03:00-04:00 UTC", None),
    ],
)
def test_it_is_read_and_written_in_one_way(text: str, canonical: str | None) -> None:
    found = Window.parse(text)
    assert str(found) == canonical or canonical is None
    assert Window.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty, write such as '02:00-04:00 Europe/Berlin'"),
        ("02:00-04:00", "names no time zone"),
        ("Mon 02:00-04:00", "names no time zone"),
        ("02:00-04:00 Europe/Berln", "Did you mean Europe/Berlin"),
        ("02:00-04:00 localtime", "there is no time zone 'localtime'"),
        ("02:00-04:00 posix/UTC", "there is no time zone 'posix/UTC'"),
        ("02:00-04:00 ../UTC", "there is no time zone '../UTC'"),
        ("02:00-04:00 Europe", "there is no time zone 'Europe'"),
        ("02:00-02:00 UTC", "write '00:00-24:00' for whole days"),
        ("24:00-02:00 UTC", "'24:00' is an end alone"),
        ("02:00-24:30 UTC", "'24:30' is no time of the day"),
        ("2:00-4:00 UTC", "'2:00' is no time of the day"),
        ("02:00 UTC", "'02:00' is no span of time"),
        ("Fon 02:00-04:00 UTC", "'Fon' is no day, write one of Mon, Tue"),
        ("Mon,,Tue 02:00-04:00 UTC", "'' is no day"),
        ("Mon Tue 02:00-04:00 UTC", "several are parted by ';'"),
        ("02:00-04:00 UTC;", "beside one of its ';' something is missing"),
        ("02:00-04:00\nUTC", "it holds the control character"),
        ("02:00-04:00 UTC" + " " * LONGEST, "use at most 500"),
        (";".join(["02:00-04:00 UTC"] * (MOST_SPANS + 1)), "it has 21 parts"),
    ],
)
def test_what_is_none_is_refused_with_the_mend(text: str, says: str) -> None:
    with pytest.raises(InvalidWindow) as refused:
        Window.parse(text)
    assert says in str(refused.value)


@given(st.text(max_size=60) | st.text(alphabet="MonTueri0123456789:-,; UTC/", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = Window.parse(text)
    except InvalidWindow:
        return
    assert Window.parse(str(found)) == found


@given(windows)
def test_what_is_written_is_read_as_the_same(found: Window) -> None:
    assert Window.parse(str(found)) == found


def test_one_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    found = Window.parse("Fri 22:00-06:00 Europe/Berlin")
    assert found.is_open(moment("2030-01-04T22:00", BERLIN))
    assert found.is_open(moment("2030-01-05T05:59", BERLIN))
    assert not found.is_open(moment("2030-01-05T06:00", BERLIN))
    assert not found.is_open(moment("2030-01-05T22:00", BERLIN))
    assert not found.is_open(moment("2030-01-04T05:00", BERLIN))
    assert wall(found.opens(moment("2030-01-05T06:00", BERLIN))) == "2030-01-11T22:00:00+01:00"


def test_in_an_hour_that_is_left_out_it_is_not_open_on_that_day() -> None:
    before = moment("2030-03-31T01:00", BERLIN)
    assert wall(Window.parse("02:00-03:00 Europe/Berlin").opens(before)) == (
        "2030-04-01T02:00:00+02:00"
    )
    # One that goes beyond it begins as clocks are put forward.
    assert wall(Window.parse("02:30-04:00 Europe/Berlin").opens(before)) == (
        "2030-03-31T03:00:00+02:00"
    )
    weekly = Window.parse("Sun 02:00-03:00 Europe/Berlin")
    assert wall(weekly.opens(before)) == "2030-04-07T02:00:00+02:00"


def test_in_an_hour_that_comes_twice_it_is_open_twice() -> None:
    found = Window.parse("02:15-02:45 Europe/Berlin")
    first, second = (moment("2030-10-27T02:15", BERLIN, fold) for fold in (0, 1))
    assert second - first == 3600
    assert found.opens(first - 60) == first
    assert found.is_open(first + 29 * MINUTE)
    assert not found.is_open(first + 30 * MINUTE)
    assert found.opens(first + 30 * MINUTE) == second
    # What clocks are put back into opens again, too.
    late = Window.parse("01:30-02:30 Europe/Berlin")
    assert late.opens(moment("2030-10-27T02:30", BERLIN)) == moment("2030-10-27T01:00")


@given(windows, moments)
def test_it_opens_at_the_first_moment_at_which_it_is_open(found: Window, at: float) -> None:
    opens = found.opens(at)
    assert opens is not None
    assert opens >= at
    assert found.is_open(opens)
    if opens > at:
        assert not found.is_open(at)
        # All begin and end at whole minutes: none in between is missed.
        between = range(int(at // MINUTE) + 1, int(opens // MINUTE))
        step = max(1, len(between) // 500)
        near = [*between[:90], *between[::step], *between[-90:]]
        assert not any(found.is_open(float(minute * MINUTE)) for minute in near)


@given(spans, moments)
def test_it_is_open_as_clocks_on_the_wall_show_it(span: Span, at: float) -> None:
    local = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(span.zone))
    time = local.strftime("%H:%M")
    start, end = str(span).split()[-2].split("-")
    today = local.weekday() in span.days
    yesterday = (local.weekday() - 1) % len(DAYS) in span.days
    if start < end:
        shown = today and start <= time < end
    else:
        shown = (today and time >= start) or (yesterday and time < end)
    assert Window((span,)).is_open(at) is shown
