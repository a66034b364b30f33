"""What the command line shows of a job that goes on, on a terminal and without one."""

import io
from collections.abc import Iterator

import msgspec
import pytest
from rich.console import Console

from towline.cli import progress as showing
from towline.cli.display import Screen
from towline.cli.progress import Lines, merged, waitable
from towline.cli.words import duration, in_words
from towline.client import LayerProgress, NodeProgress, Progress, Total


def a_node(number: int, status: str = "running", **more: object) -> NodeProgress:
    return NodeProgress(f"web-{number}", f"m{number}", status, **more)  # type: ignore[arg-type]


def pulling(number: int, fetched: int = 25, *layers: LayerProgress) -> NodeProgress:
    sizes = {"fetched": fetched * 2**20, "size": 100 * 2**20, "rate": 5 * 2**20, "left": 15}
    return msgspec.structs.replace(
        a_node(number), phase="downloading", layers=list(layers), **sizes
    )


def a_job(*nodes: NodeProgress, total: Total | None = None) -> Progress:
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.status] = counts.get(node.status, 0) + 1
    listed = {node.machine_id: node for node in nodes}
    return Progress("j", "processing", total or Total(counts, 0.25), listed, list(listed))


def drawn(*told: Progress, height: int = 24, width: int = 100) -> list[str]:
    """Return the lines that a screen of this size shows of the last of these."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    screen = Screen(console)
    for each in told:
        shown = screen.draw(each)
    with console.capture() as captured:
        console.print(shown)
    return captured.get().splitlines()


LAYERS = (
    LayerProgress("1de5d1d5e9ce", "done", 10 * 2**20, 10 * 2**20, 10 * 2**20),
    LayerProgress("628b853f656a", "downloading", 15 * 2**20, 60 * 2**20),
    LayerProgress("53c3bdf1a7fb", "waiting"),
    LayerProgress("3d4c3add9cc0", "present"),
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
    layers = [LayerProgress(f"{number:012}", "waiting") for number in range(100)]
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


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (a_node(1, "pending"), "pending"),
        (a_node(1, "pending", error="waits: 10 at a time"), "pending: waits: 10 at a time"),
        (a_node(1, phase="queued", note="3 others first"), "queued, 3 others first"),
        (
            a_node(1, phase="downloading", attempt=2, fetched=1024, size=2048, unsized=3, left=9),
            "downloading, attempt 2, 1.00 KiB of more than 2.00 KiB, more than 9 s left",
        ),
        (
            a_node(1, phase="extracting", fetched=2048, size=2048, extracted=1024),
            "extracting, 1.00 KiB of 2.00 KiB",
        ),
    ],
)
def test_a_node_is_told_of_in_words(node: NodeProgress, expected: str) -> None:
    assert in_words(node) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7380, "2 h 3 min")],
)
def test_durations_are_told_as_people_read_them(seconds: int, expected: str) -> None:
    assert duration(seconds) == expected


class Clock:
    """Stands for the module `time`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(showing, "time", clock)
    return clock


def test_without_a_terminal_there_are_a_few_lines_of_what_has_changed(clock: Clock) -> None:
    said: list[str] = []
    lines = Lines(said.append)
    lines.show(a_job(pulling(1), pulling(2)))
    assert said == []  # what is soon over is not worth a line
    clock.now = 5.0
    lines.show(a_job(pulling(1), pulling(2)))
    assert [line.split(":")[0] for line in said] == ["job j", "  web-1", "  web-2"]
    said.clear()
    clock.now = 7.0
    lines.show(a_job(pulling(1, 30), pulling(2)))
    assert said == []
    clock.now = 10.0
    lines.show(a_job(pulling(1, 30), pulling(2)))
    assert [line.split(":")[0] for line in said] == ["  web-1"]


def test_of_many_nodes_the_lines_name_only_the_slowest_and_the_failed(clock: Clock) -> None:
    said: list[str] = []
    lines = Lines(said.append)
    clock.now = 5.0
    failed = a_node(9, "failed", error="denied")
    total = Total({"running": 500}, 0.5, slowest=[pulling(7)], failed=[failed])
    lines.show(a_job(*(pulling(n) for n in range(500)), total=total))
    assert [line.split(":")[0] for line in said] == ["job j", "  web-7", "  web-9"]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([a_node(1), a_node(2, "ok")], True),
        ([a_node(1, "pending")], True),
        ([a_node(1, "pending", error="waits", waits="canary")], True),
        ([a_node(1, "pending", error="not reachable since"), a_node(2, "ok")], False),
        ([a_node(1, "ok"), a_node(2, "failed", error="denied")], False),
    ],
)
def test_nobody_waits_for_nodes_that_are_away(nodes: list[NodeProgress], expected: bool) -> None:
    assert waitable(a_job(*nodes)) is expected


def test_while_not_all_nodes_were_told_of_there_may_be_more() -> None:
    assert waitable(a_job(a_node(1, "ok"), total=Total({"ok": 2}, 1.0)))


@pytest.mark.parametrize("beside", [(), (a_node(2),)], ids=["layers", "bars"])
def test_nothing_that_a_node_tells_steers_the_terminal(beside: tuple[NodeProgress, ...]) -> None:
    layer = LayerProgress("\x1b[2J", "\x1b]0;title")
    node = msgspec.structs.replace(pulling(1, 25, layer), phase="\x1b[31m", note="\x1b[1m")
    lines = drawn(a_job(msgspec.structs.replace(node, hostname="\x1b[H"), *beside))
    assert "\\x1b[31m" in "".join(lines)
    assert "\x1b" not in "".join(lines)


def test_streams_are_merged_until_all_have_ended() -> None:
    found = [each for each in merged(("a", lambda: "12"), ("b", lambda: "3"), seconds=9) if each]
    assert sorted(found) == [("a", "1"), ("a", "2"), ("b", "3")]


def test_what_a_stream_raises_is_raised() -> None:
    def broken() -> Iterator[str]:
        yield "1"
        raise ValueError("broken")

    stream = iter(merged(("a", broken), seconds=9))
    assert next(stream) == ("a", "1")
    with pytest.raises(ValueError, match="broken"):
        next(stream)
