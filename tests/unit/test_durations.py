import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.units import LONGEST_DURATION, parse_duration, show_duration

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
# The rule once more, as one expression.
DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|)\s*")


def by_the_rule(text: str) -> float | None:
    match = DURATION.fullmatch(text)
    seconds = float(match[1]) * UNITS[match[2]] if match else -1.0
    return seconds if 0 <= seconds <= LONGEST_DURATION else None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("12h", 43_200.0),
        ("90d", 7_776_000.0),
        ("30", 30.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("1.5h", 5400.0),
        ("007s", 7.0),
        (" 30s\n", 30.0),
        ("3650d", LONGEST_DURATION),
    ],
)
def test_a_duration_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "s", "ms", "d", "soon", "-1s", "+1s", "1 s", "1h30m", "1sm", "1mm", "1hd"),
        *("30S", "30M", "5min", "1w", "1y", "1us", "s30", "0x10", "1e3", "1e3s", "1_000s"),
        *("1,5h", ".5s", "1.", "1.s", "1.5.2s", "nan", "inf", "-inf", "infinity", "infd", "nans"),
        *("٣s", "３０s", "30s\0", "30\u00a0s", "3651d", "315360000.1", "9" * 400, "9" * 400 + "ms"),
    ],
)
def test_what_is_no_duration_is_shown_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration, write for example 30s") as refused:
        parse_duration(text)
    assert str(refused.value).startswith(repr(text[:40]))


@given(st.integers(0, 3650 * 86400 * 1000), st.sampled_from(sorted(UNITS)))
def test_every_whole_number_of_a_unit_is_that_many_seconds(number: int, unit: str) -> None:
    text = f"{number}{unit}"
    if number * UNITS[unit] <= LONGEST_DURATION:
        assert parse_duration(text) == number * UNITS[unit]
    else:
        with pytest.raises(ValueError, match=text):
            parse_duration(text)


@given(
    st.from_regex(DURATION, fullmatch=True)
    | st.text("0123456789.smhd -+e_", max_size=8)
    | st.text(max_size=8)
)
def test_the_parser_agrees_with_the_rule(text: str) -> None:
    expected = by_the_rule(text)
    if expected is not None:
        assert parse_duration(text) == expected
    else:
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(text)


@pytest.mark.parametrize("unit", ["9", "s", " ", "9s", "0."])
def test_a_megabyte_is_refused_with_its_beginning(unit: str) -> None:
    with pytest.raises(ValueError, match="is not a duration") as refused:
        parse_duration(unit * (1_000_000 // len(unit)))
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.25, "250ms"), (90, "90s"), (5400, "90m"), (7200, "2h"), (86400, "1d")],
)
def test_a_duration_is_shown_in_the_largest_unit_that_it_is_whole_in(
    seconds: float, text: str
) -> None:
    assert show_duration(seconds) == text


@given(st.integers(0, int(LONGEST_DURATION)))
def test_what_is_shown_is_read_as_the_same(seconds: int) -> None:
    assert parse_duration(show_duration(seconds)) == seconds
