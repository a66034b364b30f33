"""YAML is read with the line of each value, or refused with the line of what is wrong."""

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from towline.cli.sets.yaml_places import documents
from towline.errors import InvalidConfiguration

TEXT = b"""# two sets
name: web
images:
  - nginx:1.27
  - image: redis:7
    platform: linux/arm64
---
---
name: db
"""


def test_each_value_has_its_line_and_empty_documents_are_none() -> None:
    web, db = documents(TEXT, "sets.yaml")
    assert (web.value["images"][0], db.value) == ("nginx:1.27", {"name": "db"})
    assert web.place(("images", 1, "platform")) == "sets.yaml, line 6"
    assert db.place() == "sets.yaml, line 9"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("Expected `str`, got `int` - at `$.images[1].platform`", 6),
        ("Object contains unknown field `platform` - at `$.images[1]`", 6),
        ("Object missing required field `image` - at `$.images[0]`", 4),
        ("`name`: no", 2),
        ("The images are not valid: `platform`: no", 6),
        ("`target`: there is none, so that it is the document that lacks it", 2),
    ],
)
def test_an_error_is_where_what_it_names_is(error: str, line: int) -> None:
    assert documents(TEXT, "f")[0].place_of(error) == f"f, line {line}"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b"name: a\nimages: [\n", 3, "this is no YAML"),
        (b"name: a\ntarget: b\nname: c\n", 3, "'name' stands there twice"),
        (b"a: 1\n---\nb: !!python/name:os.system\n", 3, "this is no YAML"),
        (b"? [a]\n: b\n", 1, "this is no YAML"),
    ],
    ids=["broken", "twice", "tag", "key"],
)
def test_what_is_no_yaml_is_refused_with_its_line(text: bytes, line: int, words: str) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        documents(text, "f")
    assert f"f, line {line}: {words}" in refused.value.error


def test_a_few_lines_that_stand_for_any_number_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 5)]
    with pytest.raises(InvalidConfiguration, match="values"):
        documents("\n".join(lines).encode(), "f")
    with pytest.raises(InvalidConfiguration, match="deeply"):
        documents(b"a: &a [*a]", "f")


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_any_bytes_are_documents_or_refused(text: bytes) -> None:
    try:
        found = documents(text, "f")
    except InvalidConfiguration:
        return
    for document in found:
        assert document.place().startswith("f, line ")


@given(
    st.recursive(
        st.text(max_size=5) | st.integers() | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    )
)
def test_what_is_written_is_read_as_the_same(value: object) -> None:
    text = yaml.safe_dump(value).encode()
    assert [each.value for each in documents(text, "f")] == [value]
