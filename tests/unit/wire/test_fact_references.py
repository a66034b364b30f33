"""References to facts in parameters."""

import enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from towline.wire.fact_references import refers, relaxed, resolve
from towline.wire.facts import Facts, named

FACTS = named(
    Facts(
        architecture="x86_64",
        kernel="6.1",
        fqdn="web-01.example.org",
        primary_interface="eth0",
        custom={
            **{"rack": "r7", "port": 5000, "site": {"name": "north", "tags": ["a"]}, "none": None},
            **{"rack-row": "b", "power--feed": {"in-use": "a-1"}},
        },
    ),
    "web-01",
)


@pytest.mark.parametrize(
    ("value", "resolved"),
    [
        ("@fact.hostname", "web-01"),
        ("@fact.fqdn", "web-01.example.org"),
        ("@fact.arch", "x86_64"),
        ("@fact.kernel", "6.1"),
        ("@fact.interface.primary", "eth0"),
        ("@fact.containerized", "false"),
        ("@fact.custom.rack", "r7"),
        ("@fact.custom.port", "5000"),
        ("@fact.custom.site.name", "north"),
        ("@fact.custom.site.tags", '["a"]'),
        ("a@fact.arch-@fact.custom.rack/b", "ax86_64-r7/b"),
        ("@fact.hostname.", "web-01."),
        ("@fact.custom.rack-row", "b"),
        ("@fact.custom.rack-row-9", "b-9"),
        ("@fact.custom.rack-rows", "r7-rows"),
        ("@fact.custom.power--feed.in-use", "a-1"),
        ("app:@fact.arch-slim", "app:x86_64-slim"),
        ("@fact.arch-slim.2-x", "x86_64-slim.2-x"),
        ("@fact.arch-" + "x-" * 99 + "x", "x86_64-" + "x-" * 99 + "x"),
        ("@fact.arch--", "x86_64--"),
        (["x", "@fact.arch", 1], ["x", "x86_64", 1]),
        (
            {"a": {"b": ["@fact.arch"]}, "@fact.arch": None},
            {"a": {"b": ["x86_64"]}, "@fact.arch": None},
        ),
    ],
    ids=repr,
)
def test_a_reference_stands_for_the_fact_wherever_there_is_text(value: Any, resolved: Any) -> None:
    assert refers(value)
    assert resolve(value, FACTS) == resolved


@pytest.mark.parametrize(
    "value",
    ["", "hostname", "@fact", "@fact.", "@facts.hostname", "fact.arch", 7, None, True, [], {}],
)
def test_what_only_looks_like_a_reference_stays(value: Any) -> None:
    assert not refers(value)
    assert resolve(value, FACTS) == value


@pytest.mark.parametrize(
    "name",
    [
        *("color", "hostname.com", "custom", "custom.none", "custom.site", "custom.site.nam"),
        *("rack-row", "custom.row-rack", "custom.power-feed", "custom.power--feed.in"),
    ],
)
def test_a_fact_that_is_not_known_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"^@fact.{name} is not known"):
        resolve({"a": [f"x @fact.{name} y"]}, FACTS)


def test_what_a_fact_holds_is_no_reference() -> None:
    assert resolve("@fact.a", {"a": "@fact.b", "b": "c"}) == "@fact.b"


class Side(enum.Enum):
    PORT = "port"


class Route(msgspec.Struct, forbid_unknown_fields=True, rename={"to": "destination"}):
    to: Annotated[str, Meta(pattern="^[0-9.]+$")]
    metric: Annotated[int, Meta(ge=1)] = 1
    tags: list[str] = []


Short = Annotated[str, Meta(max_length=3)]
LONG = "any text"


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (str, LONG),
        (Short, LONG),
        (Short | None, LONG),
        (Annotated[Short | None, Meta(description="any")], LONG),
        (Literal["a", "b"], LONG),
        (Side, LONG),
        (list[Short], [LONG]),
        (Annotated[list[Short], Meta(max_length=1)], [LONG]),
        (dict[str, Short], {"a": LONG}),
        (dict[str, Any], {"a": [LONG, 1]}),
        (list[Short] | int, [LONG]),
    ],
    ids=str,
)
def test_any_text_is_taken(hint: Any, value: Any) -> None:
    assert msgspec.convert(value, relaxed(hint)) == value


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (Short, 7),
        (Short, None),
        (Annotated[int, Meta(ge=1)], 0),
        (Literal[1, 2], 3),
        (Annotated[list[Short], Meta(max_length=1)], [LONG, LONG]),
        (list[Short], LONG),
        (Route, {"destination": LONG, "metric": 0}),
        (Route, {"destination": LONG, "more": 1}),
        (Route, {"to": LONG}),
    ],
    ids=str,
)
def test_all_else_is_as_it_was(hint: Any, value: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, relaxed(hint))


def test_the_text_inside_of_a_struct_is_any_too() -> None:
    read = msgspec.convert([{"destination": LONG}], relaxed(list[Route]))
    assert msgspec.to_builtins(read) == [{"destination": LONG, "metric": 1, "tags": []}]
