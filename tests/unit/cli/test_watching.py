"""Lists that are watched: what is shown when something in them changes."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console

from towline.cli import watching
from towline.cli.cells import Moment
from towline.cli.form import Form
from towline.cli.tables import Column
from towline.cli.watching import Drawn, Lines, Listing
from towline.client.streams import LONGEST_AWAY
from towline.errors import ApiError, Unreachable

Thing = dict[str, str]
WEB, DB = {"name": "web-01", "state": "Ready"}, {"name": "db-01", "state": "Ready"}
AWAY = {**WEB, "state": "NotReady"}
AGO = "2026-01-01T00:00:00Z"


def listing(**more: Any) -> Listing[Thing]:
    fields: dict[str, Any] = {
        "columns": [Column("NAME"), Column("STATE"), Column("HEARD")],
        "row": lambda each: [each["name"], each["state"], Moment(each.get("heard", AGO))],
        "name": lambda each: each["name"],
        "key": lambda each: each["name"],
        "urgent": lambda each: each["state"] != "Ready",
    }
    return Listing(**{**fields, **more})


def lines(form: Form | None = None, **more: Any) -> Lines[Thing]:
    return Lines(listing(**more), form or Form("wide"), clock=lambda: 0.0)


def news(capsys: pytest.CaptureFixture[str], show: Lines[Thing], *states: list[Thing]) -> list[str]:
    """Return what is printed of several states of a list, after the first."""
    first, *others = states
    show.show(first)
    capsys.readouterr()
    for each in others:
        show.show(each)
    return capsys.readouterr().out.splitlines()


def test_what_is_no_terminal_is_sent_the_list_and_then_a_line_for_each_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watched = lines()
    watched.show([WEB])
    head, row = capsys.readouterr().out.splitlines()
    assert (head.split(), row.split()) == (["NAME", "STATE", "HEARD"], ["web-01", "Ready", AGO])
    printed = news(capsys, lines(), [WEB], [WEB], [AWAY, DB], [DB])
    now = "1970-01-01T00:00:00.000Z"
    assert printed == [
        f"{now}  web-01  NotReady  {AGO}",
        f"{now}  db-01  Ready  {AGO}",
        f"{now}  gone  web-01  NotReady  {AGO}",
    ]


def test_an_age_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    assert news(capsys, lines(), [WEB], [{**WEB, "heard": "2026-01-01T00:00:09Z"}]) == []


def test_what_only_leaves_the_page_is_not_gone(capsys: pytest.CaptureFixture[str]) -> None:
    assert news(capsys, lines(leaves=False), [WEB, DB], [DB]) == []


def test_programs_are_sent_a_document_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    watched = lines(Form("json"))
    for each in ([WEB], [AWAY], []):
        watched.show(each)
    sent = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["event"], each["name"], each["state"]) for each in sent] == [
        ("listed", "web-01", "Ready"),
        ("changed", "web-01", "NotReady"),
        ("gone", "web-01", "NotReady"),
    ]


def test_scripts_are_sent_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert news(capsys, lines(Form("name")), [WEB, DB], [AWAY, DB], [DB]) == ["web-01"]


def asking(*answers: list[Thing] | Exception) -> Callable[[], list[Thing]]:
    """Return what answers these in turn, and then is interrupted."""
    left: Iterator[list[Thing] | Exception] = iter(answers)

    def ask() -> list[Thing]:
        for each in left:
            if isinstance(each, Exception):
                raise each
            return each
        raise KeyboardInterrupt

    return ask


@pytest.mark.parametrize(
    "error",
    [Unreachable("no answer"), ApiError("no broker", status=500), ApiError("wait", status=429)],
    ids=str,
)
def test_a_controller_that_is_lost_is_asked_until_it_answers(
    capsys: pytest.CaptureFixture[str], error: ApiError
) -> None:
    ask = asking([WEB], error, error, [AWAY])
    with pytest.raises(KeyboardInterrupt):
        watching.watch(ask, listing(), Form("wide"), every=0.0)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        f"lost the controller, and goes on asking: {error.error}",
        "the controller answers again",
    ]
    assert "NotReady" in printed.out.splitlines()[-1]


def test_a_controller_that_is_gone_for_good_is_given_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0.0, LONGEST_AWAY / 10)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    lost = Unreachable("no answer")
    ask = asking([WEB], *([lost] * 9), [AWAY], *([lost] * 11), [WEB])
    with pytest.raises(Unreachable):
        watching.watch(ask, listing(), Form("wide"), every=0.0)
    assert "NotReady" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("begun", [False, True])
def test_what_it_refuses_ends_the_watching_and_so_does_a_first_request_that_fails(
    begun: bool,
) -> None:
    error = ApiError("no such token", status=401) if begun else Unreachable("no answer")
    with pytest.raises(ApiError, match=error.error):
        watching.watch(asking(*([[WEB]] if begun else []), error), listing(), Form(), every=0.0)


def drawn(height: int) -> tuple[Drawn[Thing], io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=60, height=height)
    return Drawn(listing(), Form("wide"), console), output


def test_a_terminal_is_drawn_on_only_when_it_is_another_picture() -> None:
    watched, output = drawn(20)
    watched.show([WEB])
    before = output.tell()
    watched.show([dict(WEB)])
    assert output.tell() == before
    watched.show([AWAY])
    assert "NotReady" in output.getvalue()[before:]
    watched.lost("no answer")
    assert "lost the controller, goes on asking: no answer" in output.getvalue()
    watched.close()


def test_what_is_the_matter_comes_first_where_there_is_not_room_for_all() -> None:
    watched, _ = drawn(8)
    nodes = [{"name": f"web-{number:02}", "state": "Ready"} for number in range(30)]
    nodes[20]["state"] = "NotReady"
    found = watched.lines(nodes)
    assert found[1].split()[:2] == ["web-20", "NotReady"]
    assert len(found) == 6
    assert found[-1] == "… 26 more, for which there is no room"
