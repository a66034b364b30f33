"""Which node has which image, by what controllers know and by what engines say."""

from __future__ import annotations

import json

import pytest

from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster
from tests.testing.command import CommandLine, rows
from tests.testing.engine import Engine
from tests.testing.process import wait_until
from tests.testing.registry import PushedImage, Registry, random_layer


def states(cluster: Cluster, reference: str) -> dict[str, str]:
    """Return what is known of each node and an image; to ask by a command takes longer."""
    asked = {"reference": reference}
    nodes = cluster.admin.get("/image/nodes", params=asked).raise_for_status().json()["nodes"]
    return {node["hostname"]: node["state"] for node in nodes}


@pytest.fixture(scope="module")
def shop(registry: Registry) -> PushedImage:
    return registry.push_image("where/shop", "1.4", [random_layer("shop")])


def test_a_pulled_image_is_found_by_its_name_and_one_that_is_removed_by_hand_is_not(
    mixed: Cluster, towline: CommandLine, engine: Engine, shop: PushedImage
) -> None:
    where = ["image", "where", shop.reference]
    assert towline("pull", shop.reference, "--on", WEB_1).status == 0
    wait_until(lambda: states(mixed, shop.reference)[WEB_1] == "has", what="that it is known")
    assert towline(*where, "-q").stdout == f"{WEB_1}\n"
    found = towline(*where)
    # Of nodes without an engine that answers nothing is known.
    assert found.status == 4
    assert "1 has it, 2 unknown" in found.stdout
    assert {row["NODE"]: row["STATE"] for row in rows(found.stdout.partition("\n")[2])} == {
        **{WEB_1: "has"},
        **dict.fromkeys((DB_1, WEB_2), "unknown"),
    }
    assert towline(*where, "--on", WEB_1).status == 0
    tag = towline("image", "where", shop.reference.replace("1.4", "1.5"), "--on", WEB_1)
    assert tag.status == 3
    assert f"Did you mean {shop.reference}?" in tag.stderr

    (listed,) = rows(towline("image", "list", shop.reference, "--node", WEB_1).stdout)
    assert listed["DIGEST"] == shop.digest[:19]
    (shown,) = json.loads(towline("image", "show", shop.digest[:19], "-o", "json").stdout)
    assert [each["hostname"] for each in shown["on"]] == [WEB_1]

    engine.remove_image(shop.reference)
    wait_until(lambda: states(mixed, shop.reference)[WEB_1] == "none", what="that it is gone")
    assert towline(*where, "--on", WEB_1).status == 3


def test_live_asks_the_engine_itself(
    towline: CommandLine, engine: Engine, shop: PushedImage
) -> None:
    assert towline("pull", shop.reference, "--on", WEB_1).status == 0
    live = ["image", "list", "--live", "--on", WEB_1]
    assert engine.image_id(shop.reference) in towline(*live, "-q").stdout.split()
    assert shop.reference in [row["NAMES"] for row in rows(towline(*live).stdout)]
