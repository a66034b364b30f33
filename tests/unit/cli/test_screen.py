"""What is drawn on a terminal of a job that goes on."""

import io

import msgspec
import pytest
from rich.console import Console

from tests.testing import screens
from tests.unit.cli.progress import a_job, a_node, pulling
from towline.cli.screen import Screen
from towline.client import NodeProgress, PartProgress, Progress, Total


def drawn(*steps: Progress, height: int = 24, width: int = 100) -> list[str]:
    """Return the lines that a screen of this size shows of the last of these."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    screen = Screen(console)
    for each in steps:
        shown = screen.draw(each)
    with console.capture() as captured:
        console.print(shown)
    return captured.get().splitlines()


LAYERS = (
    PartProgress("1de5d1d5e9ce", "done", 10 * 2**20, 10 * 2**20, 10 * 2**20),
    PartProgress("628b853f656a", "downloading", 15 * 2**20, 60 * 2**20),
    PartProgress("53c3bdf1a7fb", "waiting"),
    PartProgress("3d4c3add9cc0", "present"),
)


def test_of_one_node_every_layer_is_shown() -> None:
    lines = drawn(a_job(pulling(1, 25, *LAYERS)))
    assert lines[0].split() == ["1de5d1d5e9ce", "done", "10.0", "MiB"]
    assert lines[1].split()[:2] == ["628b853f656a", "downloading"]
    assert lines[1].rstrip().endswith("15.0 MiB of 60.0 MiB")
    assert [line.split()[1] for line in lines[2:4]] == ["waiting", "present"]
    assert lines[4] == "web-1: downloading, 25.0 MiB of 100 MiB, 5.00 MiB/s, 15 s left"
    assert len(lines) == 5


def test_a_node_that_is_done_shows_its_layers_done() -> None:
    lines = drawn(a_job(pulling(1, 25, *LAYERS)), a_job(a_node(1, "ok")))
    assert [line.split()[1] for line in lines[:4]] == ["done", "done", "done", "present"]
    assert lines[4] == "web-1: ok"


def test_layers_that_do_not_fit_are_counted() -> None:
    layers = [PartProgress(f"{number:012}", "waiting") for number in range(100)]
    lines = drawn(a_job(pulling(1, 25, *layers)), height=10)
    assert lines[0] == "… 93 layers more"
    assert len(lines) < 10


def test_of_several_nodes_each_has_a_bar() -> None:
    lines = drawn(a_job(pulling(1), a_node(2, "failed", error="denied"), a_node(3, "ok")))
    assert lines[0].split()[:2] == ["web-1", "downloading"]
    assert "25.0 MiB of 100 MiB" in lines[0]
    assert lines[1].split() == ["web-2", "failed", "denied"]
    assert lines[2].split()[:2] == ["web-3", "ok"]
    assert lines[3] == "1 running, 1 failed, 1 ok"


def test_of_many_nodes_there_is_a_summary_with_the_slowest_and_the_failed() -> None:
    total = Total(
        {"running": 480, "ok": 18, "failed": 2},
        complete=0.25,
        rate=2**30,
        slowest=[pulling(7)],
        failed=[a_node(9, "failed", error="denied")],
    )
    lines = drawn(a_job(*(pulling(n) for n in range(500)), total=total))
    assert len(lines) < 12
    text = "\n".join(lines)
    assert lines[1] == "25%: 480 running, 18 ok, 2 failed, 1.00 GiB/s"
    places = [text.index(part) for part in ("slowest", "web-7", "failed\n", "web-9")]
    assert places == sorted(places)
    assert "denied" in text


def test_nothing_is_wider_than_the_terminal_or_steers_it() -> None:
    failed = a_node(1, "failed", error="[bold]x" + "\x1b[2J" + "y" * 200)
    lines = drawn(a_job(failed, a_node(2)), width=80)
    assert all(len(line) <= 80 for line in lines)
    assert "[bold]x\\x1b[2Jy" in lines[0]


@pytest.mark.parametrize("beside", [(), (a_node(2),)], ids=["layers", "bars"])
def test_nothing_that_a_node_reports_steers_the_terminal(beside: tuple[NodeProgress, ...]) -> None:
    layer = PartProgress("\x1b[2J", "\x1b]0;title")
    node = msgspec.structs.replace(pulling(1, 25, layer), phase="\x1b[31m", note="\x1b[1m")
    lines = drawn(a_job(msgspec.structs.replace(node, hostname="\x1b[H"), *beside))
    assert "\\x1b[31m" in "".join(lines)
    assert "\x1b" not in "".join(lines)


def named(node: NodeProgress, hostname: str, **more: object) -> NodeProgress:
    return msgspec.structs.replace(node, hostname=hostname, **more)


LONG = "web-01.ber.example.org"
UNPACKING = msgspec.structs.replace(
    pulling(4, 100), phase="extracting", extracted=60 * 2**20, left=0, note="layer 3 of 5"
)
PICTURES = {
    "layers": a_job(named(pulling(1, 25, *LAYERS), LONG)),
    "bars": a_job(
        named(pulling(1), LONG),
        named(pulling(2, 90), "db-01"),
        named(UNPACKING, "db-02"),
        named(a_node(5, "failed", error="manifest unknown: " + "no such tag " * 8), "db-03"),
        named(a_node(6, "pending", waits="max_parallel", reason="waits for its turn"), "db-04"),
        a_node(7, "ok"),
    ),
    "twins": a_job(
        named(pulling(1), "web", machine_id="0f" * 16),
        named(pulling(2), "web", machine_id="a1" * 16),
    ),
    "summary": a_job(
        *(pulling(number) for number in range(500)),
        total=Total(
            {"running": 480, "ok": 18, "failed": 2},
            complete=0.25,
            rate=2**30,
            slowest=[named(pulling(7), LONG)],
            failed=[named(a_node(9, "failed", error="denied"), "web-9")],
        ),
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_drawn_on_a_terminal_of_each_width(name: str) -> None:
    screens.compare(f"progress-{name}", lambda width: "\n".join(drawn(PICTURES[name], width=width)))


@pytest.mark.parametrize("width", range(40, 141))
def test_no_hostname_gives_way_to_a_bar(width: int) -> None:
    lines = drawn(PICTURES["bars"], width=width)
    assert [line.split()[0] for line in lines[:6]] == [
        *(LONG, "db-01", "db-02", "db-03", "db-04", "web-7")
    ]
    assert all(len(line.rstrip()) <= width for line in lines)


@pytest.mark.parametrize("width", [40, 80, 140])
def test_what_is_left_is_not_said_where_nobody_knows_it(width: int) -> None:
    for picture in (a_job(UNPACKING), a_job(UNPACKING, a_node(2))):
        text = "\n".join(drawn(picture, width=width))
        assert "extracting" in text
        assert "left" not in text
