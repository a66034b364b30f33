"""Of several jobs as many are drawn on a terminal as there is room for."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from tests.unit.cli.progress import a_job, a_node
from towline.cli.orders import Order, Rows, Stage
from towline.cli.several import Board


def never(key: str, wait: float) -> tuple[str, Rows | None]:
    raise AssertionError


def drawn(board: Board, console: Console) -> list[str]:
    board.close()
    with console.capture() as capture:
        console.print(board.draw())
    lines = Text.from_ansi(capture.get()).plain.splitlines()
    return [line.rstrip() for line in lines]


def test_of_more_than_there_is_room_for_those_that_go_on_are_drawn() -> None:
    console = Console(file=io.StringIO(), width=80, height=8, force_terminal=True)
    orders = [Order(never, name=f"shop:1.{number}") for number in range(20)]
    board = Board(orders, console)
    for number, order in enumerate(orders):
        order.stage = Stage.MADE
        board.show(order, a_job(a_node(1)))
        if number < 17:
            board.ended(order)
    lines = drawn(board, console)
    names = [line.split()[0] for line in lines[:-1]]
    assert names == [f"shop:1.{number}" for number in (15, 16, 17, 18, 19)]
    assert lines[-1] == "17 done, 3 under way"
