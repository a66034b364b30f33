"""Which of a large fleet's names are compared with one that there is not."""

import pytest

from towline.controller.nearest import COMPARED, nearest

NAMES = [f"{kind}-{number:04}.eu" for kind in ("web", "db", "cache") for number in range(3000)]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("wbe-0123.eu", "web-0123.eu"),
        ("web-0123.ue", "web-0123.eu"),
        ("web_0123.eu", "web-0123.eu"),
        ("WEB-0123.EU", "web-0123.eu"),
        ("web-0123", "web-0123.eu"),
        ("cahce-2999.eu", "cache-2999.eu"),
    ],
)
def test_what_was_meant_is_among_the_few_that_are_compared(typed: str, meant: str) -> None:
    found = nearest(typed, NAMES)
    assert meant in found
    assert len(found) <= 4 * COMPARED


def test_of_no_names_none_is_near() -> None:
    assert nearest("web-01", []) == set()
