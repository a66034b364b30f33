"""Tables on terminals of any width: no name is cut, and nothing is wider than the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing import screens
from towline.cli.cells import Cell, Moment, container_id, digest, job_id, machine_id
from towline.cli.form import Form
from towline.cli.tables import Column, table_lines, text_width

NOW = 1_893_456_000.0
"""2030-01-01T00:00:00Z"""
COLUMNS = [
    Column("NODE"),
    Column("MACHINE ID", gives_way=4, optional=True),
    Column("LABELS", gives_way=3, least=10, optional=True),
    Column("HEARD", gives_way=2),
    Column("REGISTERED", wide=True),
    Column("STATE", words=True),
]
ENGINE = (
    "Ready; docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the "
    "docker daemon running? The last attempt failed after 30 s, and the next one begins in 5 s"
)
ROWS: list[list[Cell]] = [
    [
        *("web-01.ber.example.org", machine_id("0f" * 16), "group:web site:ber rack:r3"),
        *(Moment("2029-12-31T23:57:00Z"), Moment("2029-12-24T12:00:00Z"), "Ready"),
    ],
    [
        *("db-01", machine_id("a1" * 16), "", Moment("2029-12-31T22:00:00Z")),
        *(Moment("2029-12-01T00:00:00Z"), ENGINE),
    ],
]


def lines(
    width: int | None, form: Form | None = None, columns: list[Column] = COLUMNS
) -> list[str]:
    return table_lines(columns, ROWS, form or Form(), width=width, now=NOW)


def test_a_table_fits_each_terminal() -> None:
    screens.compare("table", lambda width: "\n".join(lines(width)))


@pytest.mark.parametrize("width", range(40, 200, 7))
def test_names_are_whole_and_nothing_is_wider_than_the_terminal(width: int) -> None:
    shown = lines(width)
    assert max(map(text_width, shown)) <= width
    assert any(line.startswith("web-01.ber.example.org  ") for line in shown)


def test_what_is_no_terminal_is_sent_every_column_and_a_row_a_line() -> None:
    head, _, last = lines(None)
    assert head.split("  ")[0] == "NODE"
    assert "MACHINE ID" in head
    assert last.endswith(ENGINE)


def test_wide_has_moments_in_full_and_columns_of_its_own() -> None:
    assert "REGISTERED" not in lines(None)[0]
    head, first, _ = lines(None, Form("wide"))
    assert "REGISTERED" in head
    assert "2029-12-31T23:57:00Z" in first
    assert "0f0f0f0f0f0f " in first


def test_without_cutting_ids_are_whole() -> None:
    assert "0f" * 16 in lines(None, Form(whole=True))[1]


def test_an_optional_column_is_left_out_where_nothing_stands_in_it() -> None:
    columns = [Column("A"), Column("B", optional=True)]
    assert table_lines(columns, [["x", ""], ["y", None]], Form(), width=None) == ["A", "x", "y"]


def test_what_is_wide_on_a_terminal_counts_as_wide() -> None:
    columns = [Column("NAME"), Column("TEXT", gives_way=1, least=4)]
    shown = table_lines(columns, [["日本", "漢字かな交じり文"], ["ab", "c"]], Form(), width=14)
    assert shown == ["NAME  TEXT", "日本  漢字か…", "ab    c"]


@given(
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=80), st.text()), max_size=5),
    st.integers(20, 200),
)
def test_any_text_makes_a_table_that_fits(rows: list[tuple[str, str, str]], width: int) -> None:
    columns = [Column("A", 1, least=4), Column("B", gives_way=2, least=8), Column("C", words=True)]
    shown = table_lines(columns, rows, Form(), width=width)
    assert all(text_width(line) <= width and line.isprintable() for line in shown)


def test_ids_and_digests_are_short() -> None:
    whole = "sha256:11fa8c2b41d0" + "0" * 52
    assert digest(whole).short == "sha256:11fa8c2b41d0"
    assert digest(f"nginx@{whole}").short == "nginx@sha256:11fa8c2b41d0"
    assert digest("nginx:1.27").short == "nginx:1.27"
    assert job_id("0199c5a0-7d3e-7abc-8def-0123456789ab").short == "0123456789ab"
    assert machine_id("0123456789abcdef" * 2).short == "0123456789ab"
    assert container_id("fedcba9876543210" * 4).short == "fedcba987654"
