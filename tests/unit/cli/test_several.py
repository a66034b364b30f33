"""What is drawn on a terminal of several jobs that are followed together."""

import io

import msgspec
from rich.console import Console

from tests.testing import screens
from tests.unit.cli.progress import a_job, a_node, pulling
from towline.cli.orders import Order, Rows, Stage
from towline.cli.several import Board


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
