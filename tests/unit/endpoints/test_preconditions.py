"""`If-Match` and `If-None-Match`: which tags they name (RFC 9110, section 13.1)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.endpoints.preconditions import ANY, IfMatch, tags_of
from towline.signature import Header
from towline.signature.markers import extras

TAGS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='",'))


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("*", [ANY]),
        ('"a-1"', ['"a-1"']),
        ('"a-1", "b-2"', ['"a-1"', '"b-2"']),
        ('W/"a-1","b-2"', ['"b-2"']),  # a weak one matches none
        ('W/"a-1"', []),
    ],
)
def test_the_tags_that_a_header_names_are_read(text: str, tags: list[str]) -> None:
    assert tags_of(text) == tags


@pytest.mark.parametrize("text", ["", "a-1", '"a', '"a" "b"', '"a",', "*, *", '"a\u00e9"'])
def test_what_names_no_tags_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no list of tags"):
        tags_of(text)


@given(st.lists(TAGS, min_size=1))
def test_any_tags_are_read_as_they_were_sent(tags: list[str]) -> None:
    sent = [f'"{tag}"' for tag in tags]
    assert tags_of(", ".join(sent)) == sent


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert all(tag == ANY or tag.startswith('"') for tag in tags_of(text))


def test_lines_of_a_header_are_one_list() -> None:
    header = next(each for each in extras(IfMatch) if isinstance(each, Header))
    assert header.read(['"a"', ' "b"']) == '"a", "b"'
    with pytest.raises(ValueError, match="is no list of tags"):
        header.read(['"a"', "b"])
