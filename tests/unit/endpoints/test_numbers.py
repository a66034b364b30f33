"""Numbers as texts of a query have them, and as programs give them."""

from typing import Any

import pytest

from towline.signature import Place, Signature, of_function


async def weigh(context: Any, *, count: int = 0, weight: float = 0.0, share: int | str = 0) -> None:
    """Take numbers."""


@pytest.fixture
def signature() -> Signature:
    """That of a function which takes numbers in the query."""
    hints = {"count": int, "weight": float, "share": int | str}
    return of_function("a.b", weigh, hints, path="/a", has_body=False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("count", text) for text in ("1e3", "1.0", "٣", "0x10", "1_000", " 1", "+1", "", "01")),
        *(("weight", text) for text in ("nan", "NaN", "inf", "-Infinity", "1e999", "", "٣")),
    ],
)
def test_a_text_that_is_no_such_number_is_refused_and_named(
    signature: Signature, name: str, text: str
) -> None:
    with pytest.raises(ValueError, match=name):
        signature.read(Place.QUERY, {name: text}, strict=False)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "-7", -7),
        ("weight", "1e3", 1000.0),
        ("weight", "7", 7.0),
        ("share", "10%", "10%"),
    ],
)
def test_a_text_that_is_a_number_is_one(
    signature: Signature, name: str, text: str, value: object
) -> None:
    assert signature.read(Place.QUERY, {name: text}, strict=False)[name] == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_no_request_could_have_is_refused_to_programs(
    signature: Signature, value: float
) -> None:
    with pytest.raises(ValueError, match="weight"):
        signature.check({"weight": value})
