"""Patterns of texts and of nodes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.wire.pattern import parse_nodes
from towline.wire.target import InvalidTarget, Label
from towline.wire.wildcard import matches

TEXTS = st.text("ab-.", max_size=8)


@given(st.lists(TEXTS, min_size=1, max_size=5), TEXTS)
def test_a_star_stands_for_anything_and_all_else_for_itself(parts: list[str], text: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, parts)), text) is not None
    assert matches("*".join(parts), text) is expected


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_a_pattern_matches_whatever_stands_for_its_stars(pairs: list[tuple[str, str]]) -> None:
    pattern = "".join(f"{part}*" for part, _ in pairs)
    assert matches(pattern, "".join(part + anything for part, anything in pairs))


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("web-01", True),
        ("web-*", True),
        ("*", True),
        ("*-01", True),
        ("w*b*1", True),
        ("web-0*1", True),
        ("web-01*01", False),
        ("web", False),
        ("WEB-01", False),
        ("db-*", False),
        ("abc123", True),
        ("abc*", False),
        ("group:web", True),
        ("group:web.dev", True),
        ("group:web.de", False),
        ("group:web.dev.eu", False),
        ("zone:web.dev", False),
    ],
)
def test_a_node_is_meant_by_its_name_its_machine_id_or_a_label(pattern: str, covered: bool) -> None:
    labels = [Label("rack", "r12"), Label("group", "web.dev")]
    assert parse_nodes(pattern).covers("abc123", "web-01", labels) is covered


@pytest.mark.parametrize(
    "text",
    ["", "_any", "_all", "group:", "group:*", "group=web", "web 01", "web,db", "web-?", "*/"],
)
def test_what_means_no_nodes_is_refused(text: str) -> None:
    with pytest.raises(InvalidTarget):
        parse_nodes(text)
