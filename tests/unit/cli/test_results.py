"""What is printed of results: of many nodes a summary and what differs, of one everything."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from tests.testing import screens
from tests.unit.cli.made_results import FEW, MANY, MIXED, OTHER, TWINS, UNKNOWN, Row, listed, pulled
from towline.cli.form import Form
from towline.cli.results import names_of, print_results, result_lines
from towline.cli.tables import text_width
from towline.operation import AnyOperation, Effect, Node, Operation
from towline.operations.docker import list_containers, pull
from towline.operations.image import list_images
from towline.operations.node import load
from towline.signature.shown import BYTES, IMAGE, MORE, SUM

PULLS = {
    **{"one": [pulled(1)], "one-failed": [FEW[2]], "few": FEW, "twins": TWINS},
    **{"many": MANY, "mixed": MIXED},
}
LOADS: list[Row] = [
    {
        **{"hostname": name, "machine_id": name * 8, "status": "ok", "changed": False},
        "load_average": {"1min": 0.52, "5min": 0.4, "15min": 12.0},
    }
    for name in ("a", "b")
]
LISTS = [listed("web-01", 3, truncated=True), listed("db-01", 0)]


class Gone(msgspec.Struct, frozen=True):
    """Something that a change has removed."""

    id: str
    names: Annotated[list[str], IMAGE]
    size: Annotated[int, BYTES]


class Swept(msgspec.Struct, frozen=True):
    """What a change has removed, and what that came to."""

    changed: bool
    freed: Annotated[int, BYTES, SUM]
    count: int
    images: list[Gone]
    truncated: Annotated[bool, MORE]


async def sweep(node: Node) -> Swept:
    """Remove what nobody needs."""
    raise AssertionError


SWEEP: AnyOperation = Operation(
    sweep,
    name="image.sweep.execute",
    route="POST sweep",
    permission="docker:write",
    effect=Effect.ONCE,
    requires="docker",
    success=None,
)


MOST = 30
"""Things that one listed at most."""


def swept(number: int, count: int) -> Row:
    names = ["docker.io/library/nginx:1.26", f"registry.example.org/team/app@{OTHER}"]
    size = 196_083_713
    images = [
        {"id": f"sha256:{each:02x}" + "0d" * 31, "names": names[: each % 3], "size": size}
        for each in range(count)
    ]
    row = pulled(number)
    named = {name: row[name] for name in ("hostname", "machine_id", "status")}
    listed = {"count": count, "images": images[:MOST], "truncated": count > MOST}
    return {**named, "changed": count > 0, "freed": count * size, **listed}


SWEPT = {
    **{"one": [swept(1, 3)], "one-nothing": [swept(1, 0)], "few": [swept(1, 3), swept(2, 0)]},
    "many": [swept(number, number % 40) for number in range(300)],
}


class Sized(Form, frozen=True):
    """A form for a terminal of so many columns."""

    columns: int = 80

    @property
    def width(self) -> int | None:
        return self.columns


def shown(rows: list[Row], width: int, operation: AnyOperation | None = pull) -> list[str]:
    return result_lines(rows, operation, Sized(columns=width), seconds=27.3)


@pytest.mark.parametrize("name", PULLS)
def test_the_results_of_a_pull(name: str) -> None:
    screens.compare(f"pull-{name}", lambda width: "\n".join(shown(PULLS[name], width)))


@pytest.mark.parametrize("rows", PULLS.values(), ids=PULLS)
@pytest.mark.parametrize("width", [40, 57, 80, 140])
def test_no_line_is_wider_than_the_terminal(rows: list[Row], width: int) -> None:
    assert max(map(text_width, shown(rows, width))) <= width


def test_a_broadcast_that_went_well_is_one_line() -> None:
    assert shown(MANY, 80) == ["300 ok (280 changed) · sha256:11fa8c2b41d0 · 27 s"]


def test_of_many_nodes_those_are_listed_that_have_another_digest() -> None:
    text = "\n".join(shown(MIXED, 80))
    assert "web-291" in text
    assert OTHER[:19] in text
    assert "web-000" not in text
    everything = result_lines(MIXED, pull, Form(all_nodes=True))
    assert sum(line.startswith("web-") for line in everything) == len(MIXED)


def test_the_same_error_of_many_nodes_is_printed_once_and_whole() -> None:
    lines = result_lines(MIXED, pull, Form())
    assert [line.strip() for line in lines].count(UNKNOWN) == 1
    assert any(line.startswith("30 nodes failed: web-260, web-261, ") for line in lines)


def test_an_operation_that_nobody_knows_is_shown_by_its_results_alone() -> None:
    assert result_lines(FEW, None, Form(), seconds=1.0)[0] == (
        "2 ok (1 changed), 1 failed, 1 pending · 1.0 s"
    )
    assert "ID" in result_lines(LISTS, None, Form())[1]


def test_what_is_read_is_a_row_a_node() -> None:
    assert result_lines(LOADS, load, Form()) == [
        "NODE  LOAD AVERAGE",
        "a     1min 0.52, 5min 0.4, 15min 12",
        "b     1min 0.52, 5min 0.4, 15min 12",
    ]


def test_containers_are_a_row_each() -> None:
    def printed(width: int) -> str:
        form = Sized(columns=width)
        return "\n".join(result_lines(LISTS, list_containers, form, now=1_767_400_000.0))

    screens.compare("docker-list", printed)


def on_node(number: int) -> Row:
    """Return what a node's engine has: an image with no name, with one, and with two."""
    names = ["docker.io/library/nginx:1.27", "docker.io/library/nginx:latest"]
    digests = [f"docker.io/library/nginx@{OTHER}"]
    images = [
        {
            **{"id": f"sha256:{each:02x}" + "0d" * 31, "size": 196_083_713, "used": each},
            **{"names": names[:each], "digests": digests[: each % 2]},
            "created": "2026-01-01T00:00:00Z",
        }
        for each in range(3)
    ]
    return {**listed(f"web-{number:02}", 0), "images": images}


def test_images_of_engines_are_a_row_each_by_the_names_that_people_know() -> None:
    def printed(width: int) -> str:
        rows = [on_node(1), on_node(2)]
        form = Sized(columns=width)
        return "\n".join(result_lines(rows, list_images, form, now=1_767_400_000.0))

    screens.compare("image-list-live", printed)


def test_the_names_of_a_list_are_the_ids_in_it_and_of_a_change_its_job() -> None:
    assert names_of(LISTS, list_containers, "j") == ["00" * 32, "01" * 32, "02" * 32]
    assert names_of(FEW, pull, "j") == ["j"]


@pytest.mark.parametrize("name", SWEPT)
def test_what_a_change_lists_and_what_it_comes_to(name: str) -> None:
    screens.compare(f"swept-{name}", lambda width: "\n".join(shown(SWEPT[name], width, SWEEP)))


def test_what_a_change_lists_is_counted_where_it_is_much_and_what_adds_up_is_said_once() -> None:
    many = result_lines(SWEPT["many"], SWEEP, Form())
    assert many == ["300 ok (292 changed) · 5650 images · freed 1.01 TiB"]
    some = [swept(1, 20), swept(2, 3)]
    lines = result_lines(some, SWEEP, Form())
    assert [line.split()[-1] for line in lines] == ["GiB", "IMAGES", "20", "3"]
    everything = result_lines(some, SWEEP, Form(all_nodes=True))
    assert len(everything) == len(lines) + 2 + 23
    assert names_of(some, SWEEP, "j") == ["j"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([swept(1, 31)], "web-001 has more than these\n"),
        ([swept(1, 31), swept(2, 31)], ""),
        ([swept(1, 30)], ""),
    ],
    ids=["cut", "not listed", "whole"],
)
def test_only_what_is_listed_is_said_to_be_cut(
    rows: list[Row], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_results(rows, SWEEP, Form())
    assert capsys.readouterr().err == said


class Found(msgspec.Struct, frozen=True):
    """What a read has found: things, and what they come to."""

    size: Annotated[int, BYTES, SUM]
    disk: list[Gone]


async def look(node: Node) -> Found:
    """Look at what there is."""
    raise AssertionError


LOOK: AnyOperation = Operation(
    look,
    name="image.look.get",
    route="GET look",
    permission="docker:read",
    effect=Effect.READ,
    requires="docker",
    success=None,
)


def test_what_a_read_comes_to_is_said_above_what_it_has_found() -> None:
    row = swept(1, 2)
    found = [{**listed(name, 0), "size": 2 << 30, "disk": row["images"]} for name in ("a", "b")]
    first, head, *_ = result_lines(found, LOOK, Form(), seconds=1.0)
    assert (first, head.split()) == ("size 4.00 GiB", ["NODE", "ID", "NAMES", "SIZE"])
    failing = [*found, {"hostname": "c", "machine_id": "c", "status": "failed", "error": "no"}]
    first, *_ = result_lines(failing, LOOK, Form(), seconds=1.0)
    assert first == "2 ok, 1 failed · size 4.00 GiB · 1.0 s"


def test_of_one_node_what_a_value_lists_is_a_line_each() -> None:
    row = {**listed("a", 0), "layers": [OTHER, OTHER], "changed": False}
    lines = result_lines([row], pull, Form())
    short = OTHER[:19]
    assert [line.split() for line in lines[-2:]] == [["layers", short], [short]]


def test_people_are_shown_images_by_the_names_that_they_know() -> None:
    *_, last = result_lines(SWEPT["one"], SWEEP, Form())
    assert last.split() == ["sha256:020d0d0d0d0d", "nginx:1.26", "+1", "187", "MiB"]
    *_, last = result_lines(SWEPT["one"], SWEEP, Form(whole=True))
    assert f" nginx:1.26, registry.example.org/team/app@{OTHER} " in last
