"""Ages, and names of machines that have the same."""

import pytest

from towline.cli.cells import about, age, cell_of, lines_of, node_name, twins

NOW = 1_893_456_000.0
"""2030-01-01T00:00:00Z"""


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2030-01-01T00:00:00Z", "0 s"),
        ("2029-12-31T23:59:01.500Z", "58 s"),
        ("2029-12-31T23:57:00Z", "3 min"),
        ("2029-12-31T22:01:00Z", "119 min"),
        ("2029-12-31T22:00:00Z", "2 h"),
        ("2029-12-30T01:00:00+01:00", "2 d"),
        ("2030-01-01T00:00:30Z", "0 s"),  # by a clock that is a little ahead
        ("2030-01-01T02:30:00Z", "in 2 h"),
        ("yesterday", "yesterday"),
        ("2030-01-01T00:00:00", "2030-01-01T00:00:00"),
    ],
)
def test_a_moment_is_shown_by_how_long_ago_it_is(moment: str, shown: str) -> None:
    assert age(moment, NOW) == shown


def test_a_duration_has_one_unit() -> None:
    assert [about(seconds) for seconds in (0.4, 59.9, 60, 7200, 172800, -1)] == [
        *("0 s", "59 s", "1 min", "2 h", "2 d", "0 s")
    ]


def test_machines_of_the_same_name_have_their_machine_id_beside_it() -> None:
    nodes = [("a", "1" * 32), ("b", "2" * 32), ("a", "3" * 32), ("b", "2" * 32)]
    alike = twins(nodes)
    assert alike == {"a"}
    assert node_name("b", "2" * 32, alike) == "b"
    shown = node_name("a", "3" * 32, alike)
    assert getattr(shown, "short", None) == "a (333333333333)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (0.526789, "0.53"),
        (12.0, "12"),
        (123456789.5, "123456789.5"),
        (["a", 1], "a, 1"),
        ({"type": "HighLoad", "status": False}, "type HighLoad, status no"),
        ({"a": {"b": 1}}, '{"a": {"b": 1}}'),
        ("nginx:1.27", "nginx:1.27"),
    ],
)
def test_a_value_is_shown_in_words(value: object, shown: str) -> None:
    assert cell_of(value) == shown


def test_a_list_of_things_has_a_line_for_each() -> None:
    assert lines_of([{"name": "eth0", "ipv4": "192.0.2.2"}, {"name": "lo"}]) == [
        *("name eth0, ipv4 192.0.2.2", "name lo")
    ]
