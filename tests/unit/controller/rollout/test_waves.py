"""What the options of waves come to."""

import msgspec
import pytest

from towline.controller.rollout.rule import Limits, limits
from towline.wire.rollout import Waves


@pytest.mark.parametrize(
    ("given_options", "total", "expected"),
    [
        ({"max_parallel": "50"}, 1000, Limits(1000, 50, 0, None)),
        ({"max_parallel": "25%"}, 10, Limits(10, 2, 0, None)),
        ({"max_parallel": "1%"}, 10, Limits(10, 1, 0, None)),
        ({"max_parallel": "100%"}, 7, Limits(7, 7, 0, None)),
        ({"canary": "2"}, 10, Limits(10, 10, 2, None)),
        ({"canary": "20"}, 10, Limits(10, 10, 10, None)),
        ({"canary": "5%"}, 10, Limits(10, 10, 1, None)),
        ({"max_parallel": "1", "max_failures": "0"}, 10, Limits(10, 1, 0, 0)),
        ({"max_parallel": "1", "max_failures": "19%"}, 10, Limits(10, 1, 0, 1)),
        ({"canary": "1", "max_failures": "0%"}, 10, Limits(10, 10, 1, 0)),
        ({}, 10, Limits(10, 10, 0, None)),
    ],
)
def test_numbers_and_percentages_come_to_numbers_of_nodes(
    given_options: dict[str, str], total: int, expected: Limits
) -> None:
    assert limits(Waves.of(given_options), total) == expected


@pytest.mark.parametrize(
    ("given_options", "named"),
    [
        ({"max_parallel": "0"}, "1 or more"),
        ({"max_parallel": "0%"}, "1% to 100%"),
        ({"max_parallel": "101%"}, "'101%'"),
        ({"canary": "0"}, "`canary`"),
        ({"canary": "-1"}, "'-1'"),
        ({"canary": ""}, "''"),
        ({"canary": "two"}, "'two'"),
        ({"canary": "1.5"}, "'1.5'"),
        ({"canary": "٣"}, "`canary`"),
        ({"max_parallel": "1", "max_failures": "101%"}, "0% to 100%"),
        ({"max_parallel": "1000000000000"}, "`max_parallel`"),
        ({"max_failures": "2"}, "give `max_parallel` or `canary` too"),
    ],
)
def test_what_can_be_no_option_is_refused_by_its_name(
    given_options: dict[str, str], named: str
) -> None:
    with pytest.raises(ValueError, match=r"max_|canary") as refused:
        Waves.of(given_options)
    assert named in str(refused.value)


def test_no_option_means_no_waves() -> None:
    assert Waves.of({}) is None


def test_waves_are_read_back_from_their_json() -> None:
    found = Waves.of({"canary": " 2 ", "max_failures": "10%"})
    assert found == Waves(canary="2", max_failures="10%")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Waves) == found
