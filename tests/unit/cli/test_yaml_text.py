"""Answers as YAML: the same to whoever reads them, and nothing that controls a terminal."""

import yaml  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from towline.cli.yaml_text import lines_of


@given(st.text())
@example("a\u202eb")  # nothing that YAML itself would escape
@example("no")
@example("2030-01-31T12:00:00Z")
def test_any_text_is_read_as_the_same_and_steers_nothing(text: str) -> None:
    for value in ({"key": text}, {text: [text]}, text):
        lines = lines_of(value)
        assert all(line.isprintable() for line in lines)
        assert yaml.safe_load("\n".join(lines)) == value
