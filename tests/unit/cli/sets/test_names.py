"""The set of a target has a name that people can read, and that is always the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.cli.sets.names import name_for
from towline.wire.target import InvalidTarget, parse_target


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("_all", "all"),
        ("web-01", "web-01"),
        ("web-01.example.org", "web-01.example.org"),
        ("group:web", "group-web"),
        ("group:web.dev.eu", "group-web.dev.eu"),
    ],
)
def test_a_name_has_the_words_of_the_target(target: str, name: str) -> None:
    assert name_for(target) == name


def test_what_means_the_same_has_one_name_and_what_does_not_has_another() -> None:
    assert name_for("group:web,site:ber") == name_for("site:ber,group:web")
    several = ["group:web,site:ber", "group:web;site:ber", "group:web,!site:ber", "group:Web"]
    assert len({name_for(each) for each in [*several, "group:web"]}) == 5
    assert name_for(several[0]).startswith("group-web-site-ber-")


@given(st.lists(st.sampled_from(["group:web", "web-*", "_all", "db-01", "X:Y", "!"]), min_size=1))
def test_any_target_has_a_name_by_the_grammar_of_names(terms: list[str]) -> None:
    text = ";".join(terms)
    try:
        parse_target(text)
    except InvalidTarget:
        return
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", name_for(text))
    long = ";".join(f"{each}-{number}" for number, each in enumerate(["web", "db"] * 30))
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", name_for(long))
