"""What is drawn on a terminal of several jobs that are followed together."""

import io
import threading
import time
from typing import NoReturn, cast

import msgspec
import pytest
from rich.console import Console

from tests.testing import screens
from tests.unit.cli.conftest import Here
from tests.unit.cli.progress import a_job, a_node, pulling
from tests.unit.stub import Answer, StubController
from towline.cli import last_words, together
from towline.cli.form import Form
from towline.cli.interrupt import Interrupted
from towline.cli.orders import Errand, Order, Rows, Stage
from towline.cli.several import Board
from towline.cli.showing import Showing
from towline.client import Client
from towline.errors import ApiError, Unreachable


def order(name: str, number: int, *statuses: str) -> Order:
    def ask(key: str, wait: float) -> tuple[str, Rows]:
        raise AssertionError("nothing is asked here")

    made = Order(ask, name=name)
    made.job_id = f"0199c5a0-7d3e-7abc-8def-{number:012}"
    made.stage = Stage.MADE if number else Stage.WAITING
    made.rows = [{"hostname": "a", "status": status} for status in statuses]
    return made


def test_a_line_each_on_terminals_of_several_widths() -> None:
    def picture(width: int) -> str:
        console = Console(
            file=io.StringIO(), width=width, height=24, color_system=None, force_terminal=True
        )
        orders = [
            *(order("nginx:1.27", 1), order("registry.example.org/team/app:2", 2)),
            *(order("redis:7", 3, "ok"), order("postgres:17", 0)),
        ]
        board = Board(orders, console)
        board.show(orders[0], a_job(pulling(1), a_node(2, "ok")))
        failing = a_job(pulling(1), a_node(2, "failed"))
        board.show(orders[1], msgspec.structs.replace(failing, job_id="2"))
        board.ended(orders[2])
        board.close()
        with console.capture() as captured:
            console.print(board.draw())
        return captured.get()

    screens.compare("progress-several-jobs", picture)


def test_what_was_begun_has_its_line_and_keeps_what_it_knows_after_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = screens.Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    orders = [order("nginx", 1, "ok"), order("redis", 2)]
    showing = Showing(orders, ids=True)
    showing.begin(orders[1])
    assert "000000000002" in terminal.getvalue()
    showing.ended(orders[0])
    showing.note(orders[1], "asking again")
    showing.begin(orders[1])
    showing.close()
    assert "redis: asking again" in terminal.getvalue()
    assert "1 done, 1 under way" in terminal.getvalue().rpartition("asking again")[2]


def test_an_interrupt_names_those_that_have_ended_too(capsys: pytest.CaptureFixture[str]) -> None:
    refused, going = order("c", 3), order("d", 4, "running")
    refused.stage, refused.error = Stage.REFUSED, ApiError("No such node.", status=400)
    orders = [order("a", 1, "ok"), order("b", 2, "failed", "ok"), refused, going, order("e", 0)]
    with pytest.raises(SystemExit) as ended:
        last_words.interrupted(orders, Interrupted(2))
    said = capsys.readouterr().err
    assert ended.value.code == 130
    assert "2 jobs have ended:\n" in said
    assert f"  {orders[1].job_id}  b  1 failed, 1 ok\n" in said
    assert f"1 job not made:\n  {refused.job_id}  c  No such node.\n" in said
    assert f"1 job goes on:\n  {going.job_id}  d  1 running\n" in said
    assert "1 not asked for:\n  e\n" in said


def test_once_the_wait_is_over_one_that_gets_no_answer_speaks_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Order] = []

    def nobody(_: Errand, each: Order) -> None:
        asked.append(each)
        raise Unreachable("Nobody answers.")

    monkeypatch.setattr(Errand, "carry_out", lambda _, each: time.sleep(3600))
    monkeypatch.setattr(Errand, "ask_again", nobody)
    orders = [order(name, number, "running") for number, name in enumerate("abc", 1)]
    together.carry_out(cast("Client", None), orders, time.monotonic() - 9, Form())
    assert asked == orders[:1]
    assert all(isinstance(each.error, Unreachable) for each in orders)


def test_once_all_jobs_have_ended_no_thread_is_left_that_python_s_own_end_could_meet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = threading.Event()
    work = together._Together._work

    def slowly(self: together._Together) -> None:
        began.set()
        work(self)
        time.sleep(0.2)

    monkeypatch.setattr(together._Together, "_work", slowly)
    monkeypatch.setattr(Errand, "carry_out", lambda _, each: None)
    before = {*threading.enumerate()}
    orders = [order(name, number, "ok") for number, name in enumerate("abc", 1)]
    together.carry_out(cast("Client", None), orders, time.monotonic() + 60, Form())
    assert began.is_set()
    assert {*threading.enumerate()} == before


def test_a_dry_run_that_is_refused_says_for_which_image(
    asking: Here, controller: StubController
) -> None:
    controller.default = Answer({"error": "No such node."}, 400)
    done = asking("pull", "nginx", "redis", "--on", "web-1", "--dry-run")
    assert done.status == 2
    assert done.stderr.startswith(("towline: nginx: No such", "towline: redis: No such"))


def test_a_dry_run_that_ends_waits_for_no_other_answer(
    asking: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, waited_for = threading.Event(), threading.Event()

    def answer(_: Client, __: object, ___: str, *, image: str) -> NoReturn:
        if image == "slow":
            over.wait(5)
            waited_for.set()
        raise ApiError("No such node.", status=400)

    monkeypatch.setattr(Client, "dry_run", answer)
    done = asking("pull", "slow", "redis", "--on", "web-1", "--dry-run")
    assert (done.status, waited_for.is_set()) == (2, False)
    over.set()
