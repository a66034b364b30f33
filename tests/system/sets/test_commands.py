"""The commands about sets, each at a real controller over nodes with real engines."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster
from tests.testing.command import CommandLine, failed, rows, values
from tests.testing.engine import Engine
from tests.testing.marks import ONE_KIND
from tests.testing.process import wait_until
from tests.testing.registry import PushedImage, Registry, random_layer

pytestmark = ONE_KIND


@pytest.fixture
def towline(cluster: Cluster, tmp_path: Path) -> Iterator[CommandLine]:
    """Commands of somebody who may declare sets; all of these are gone in the end."""
    env = {"TOWLINE_URL": cluster.url, "TOWLINE_TOKEN": cluster.token("write")}
    yield CommandLine(tmp_path, env)
    for each in cluster.admin.get("/set").raise_for_status().json()["sets"]:
        cluster.admin.delete(f"/set/{each['name']}").raise_for_status()


def test_ensure_waits_and_a_set_is_shown_rolled_back_paused_and_removed(
    cluster: Cluster,
    engines: Sequence[Engine],
    towline: CommandLine,
    image: PushedImage,
    registry: Registry,
) -> None:
    ensure = ["ensure", image.reference, "--on", "group:web"]
    done = towline(*ensure)
    assert (done.status, "set group-web is declared for group:web" in done.stderr) == (0, True)
    assert {row["NODE"]: row["STATUS"] for row in rows(done.stdout.partition("\n")[2])} == {
        WEB_1: "ok",
        WEB_2: "ok",
    }
    assert [each.image_id(image.reference) for each in engines[:2]] == [image.config_digest] * 2
    again = towline(*ensure)
    assert (again.status, "declared so already" in again.stderr) == (0, True)

    moved = registry.push_image(image.repository, "1.0", [random_layer("moved")])
    assert towline(*ensure, "--every", "1h", "-q").stdout == "group-web\n"
    assert [each.image_id(image.reference) for each in engines[:2]] == [moved.config_digest] * 2
    (listed,) = rows(towline("set", "list").stdout)
    assert (listed["SET"], listed["STATUS"], listed["NODES"]) == (
        *("group-web", "converged", "2 of 2"),
    )
    shown = towline("set", "show", "group-web").stdout
    assert values(shown)["follows"] == "tags, looked up every 1h"
    assert moved.digest[:19] in shown
    assert "2 converged" in shown
    nodes = rows(towline("set", "nodes", "group-web").stdout)
    assert [(row["NODE"], row["STATE"]) for row in nodes] == [
        (WEB_1, "converged"),
        (WEB_2, "converged"),
    ]
    assert (
        "no node is failed now" in towline("set", "nodes", "group-web", "--state", "failed").stderr
    )

    back = towline("set", "rollback", "group-web")
    assert (back.status, image.digest[:19] in back.stdout) == (0, True)
    wait_until(
        lambda: {each.image_id(image.reference) for each in engines[:2]} == {image.config_digest},
        what="the digest before at both engines",
    )
    assert towline("set", "pause", "group-web").status == 0
    # Nothing is begun for it, and whoever waits is told so.
    waits = towline(
        "ensure", moved.reference.replace("1.0", "2.0"), "--on", "group:web", "--wait", "1s"
    )
    assert (waits.status, "towline set resume group-web" in waits.stderr) == (4, True)
    assert towline("set", "resume", "group-web").status == 0
    happened = [row["WHAT"] for row in rows(towline("set", "history", "group-web").stdout)]
    for what in ("declared", "changed", "rolled out", "rolled back", "paused", "resumed"):
        assert what in happened

    assert towline("set", "remove", "group-web").status == 0
    assert "There is no set 'group-web'" in failed(towline("set", "show", "group-web"))
    assert engines[0].image_id(image.reference) == image.config_digest


def test_ensure_says_what_failed_and_that_nobody_is_meant(
    towline: CommandLine, image: PushedImage, registry: Registry
) -> None:
    registry.remove_blob(image.layer_digests[0])
    done = towline("ensure", image.reference, "--on", DB_1)
    assert done.status == 1
    assert "it is tried again: towline set show db-01" in done.stderr
    nobody = towline("ensure", image.reference, "--on", "group:tomorrow")
    assert (nobody.status, "no node is group:tomorrow yet" in nobody.stderr) == (4, True)


def test_apply_does_what_files_say_and_ends_by_whether_it_did_anything(
    cluster: Cluster,
    engines: Sequence[Engine],
    towline: CommandLine,
    image: PushedImage,
    tmp_path: Path,
) -> None:
    file = tmp_path / "sets.yaml"

    def write(*names: str, image: str = image.reference) -> None:
        document = f"target: group:web\nimages: ['{image}']\n"
        file.write_text("---\n".join(f"name: {name}\n{document}" for name in names))

    def sets() -> list[str]:
        return towline("set", "list", "-q").stdout.split()

    apply: list[str | Path] = ["apply", "-f", file, "--source", "fleet"]
    write("one", "two")
    foreseen = towline(*apply, "--dry-run")
    assert (foreseen.status, sets()) == (1, [])
    assert "one would be created: 2 of 2 nodes lack something" in foreseen.stdout
    assert (towline(*apply).status, sets()) == (1, ["one", "two"])
    wait_until(
        lambda: {each.image_id(image.reference) for each in engines[:2]} == {image.config_digest},
        what="the image at both engines",
    )
    assert (towline(*apply).status, towline(*apply, "--dry-run").status) == (0, 0)

    write("one", image="No Image")
    assert f"{file}, line 3: 'No Image' is not" in failed(towline(*apply, "--prune"))
    write("one")
    assert "is of the source 'fleet'" in failed(towline("apply", "-f", file, "--source", "other"))
    pruned = towline(*apply, "--prune", "--dry-run")
    assert (pruned.status, sets()) == (1, ["one", "two"])
    assert "two would be removed" in pruned.stdout
    assert (towline(*apply, "--prune").status, sets()) == (1, ["one"])
    assert towline(*apply, "--prune").status == 0
    assert towline("set", "remove", "one").status == 0
    assert sets() == []
