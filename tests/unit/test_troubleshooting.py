"""The page on troubles is what the table of words says."""

from scripts.troubleshooting import PATH, page

from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.words import TABLE


def test_the_page_is_made_from_the_table_as_it_is() -> None:
    made = "run: python -m scripts.troubleshooting"
    assert PATH.read_text(encoding="utf-8") == page(), made


def test_the_page_has_each_row_with_all_its_examples() -> None:
    text = page()
    for row in TABLE:
        assert f"\n### {row.title}\n" in text
        assert row.cause in text
        for said in row.said:
            assert said.words.splitlines()[0] in text


def test_titles_are_links_and_each_kind_that_the_table_knows_has_rows() -> None:
    assert len({row.title for row in TABLE}) == len(TABLE)
    assert {row.kind for row in TABLE} == set(Kind) - {Kind.UNKNOWN}
