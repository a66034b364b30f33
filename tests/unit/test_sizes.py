import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.units import LARGEST_SIZE, SIZE_UNITS, Share, parse_share, parse_size, show_size

GIB = 1024**3


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("10B", 10),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("500MB", 500_000_000),
        ("1GiB", GIB),
        ("1gib", GIB),
        (" 1.5 GiB\n", 3 * GIB // 2),
        ("2TB", 2 * 10**12),
        ("1024PiB", LARGEST_SIZE),
    ],
)
def test_a_size_is_a_number_and_its_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "GiB", "big", "-1GiB", "+1GiB", "1GiB2", "1GG", "1Gi", "1G", "5%", "%", "1e3"),
        *("1,5GiB", ".5GiB", "1.GiB", "0x10", "1_000", "nan", "inf", "٣GiB", "1\u00a0GiB\u00a0x"),
        *("1025PiB", "9" * 400, "9" * 400 + "PiB"),
    ],
)
def test_what_is_no_size_is_shown_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size, write for example 500MB") as refused:
        parse_size(text)
    assert str(refused.value).startswith(repr(text[:40]))


@given(st.integers(0, 2000), st.sampled_from(sorted(SIZE_UNITS)))
def test_every_whole_number_of_a_unit_is_that_many_bytes(number: int, unit: str) -> None:
    if number * SIZE_UNITS[unit] <= LARGEST_SIZE:
        assert parse_size(f"{number}{unit}") == number * SIZE_UNITS[unit]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("1GiB,5%", Share(GIB, 5.0)),
        ("5%, 1GiB", Share(GIB, 5.0)),
        ("1GiB", Share(GIB)),
        ("2.5%", Share(0, 2.5)),
        ("100%", Share(0, 100.0)),
        ("0", Share()),
    ],
)
def test_a_share_is_a_size_or_a_percentage_or_both(text: str, share: Share) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "''"),
        ("1GiB,", "''"),
        ("101%", "'101%'"),
        ("-5%", "'-5%'"),
        ("some,5%", "'some'"),
        ("1GiB,2GiB", "'1GiB,2GiB'"),
        ("5%,6%", "'5%,6%'"),
    ],
)
def test_what_is_no_share_is_shown_with_how_to_write_one(text: str, shown: str) -> None:
    with pytest.raises(ValueError, match="write") as refused:
        parse_share(text)
    assert str(refused.value).startswith(shown)


def test_of_a_size_and_a_percentage_the_larger_counts() -> None:
    share = parse_share("1GiB,5%")
    assert share.of(10 * GIB) == GIB
    assert share.of(20 * GIB) == GIB
    assert share.of(100 * GIB) == 5 * GIB
    assert parse_share("0").of(100 * GIB) == 0


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "0.98 KiB"),
        (1024, "1.00 KiB"),
        (10_234, "9.99 KiB"),
        (10_235, "10.0 KiB"),
        (1024 * 100, "100 KiB"),
        (1024 * 999, "999 KiB"),
        (1024 * 1023, "1.00 MiB"),
        (GIB * 3 // 2, "1.50 GiB"),
    ],
)
def test_a_size_is_shown_in_three_digits(size: int, shown: str) -> None:
    assert show_size(size) == shown


@given(st.integers(1, LARGEST_SIZE))
def test_what_is_shown_reads_back_to_nearly_the_same(size: int) -> None:
    shown = show_size(size).removesuffix(" bytes")
    assert abs(parse_size(shown) - size) <= size * 0.0051 + 1
