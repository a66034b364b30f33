"""What `towline image` says of the images of all nodes, and how it is asked for."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.testing.command import failed, rows
from tests.testing.screens import compare
from tests.unit.cli.conftest import Here
from tests.unit.stub import Answer, StubController
from towline.cli.image_view import status_of
from towline.endpoints.images import cursor_of
from towline.units import timestamp

NGINX, NEWER, SHOP = ("sha256:" + each * 32 for each in ("1a", "2b", "3c"))
CURSOR = cursor_of("a", "b")
LOCAL = "sha256:" + "4d" * 32
HUB = "docker.io/library"
TEAM = "registry.example.org/team"


def image(digest: str, *names: str, nodes: int = 1, **more: Any) -> dict[str, Any]:
    found = {
        **{"digest": digest, "names": list(names), "size": 196_083_713, "sizes": [196_083_713]},
        **{"platforms": ["linux/amd64"], "nodes": nodes, "used_on": nodes // 2},
        "created": timestamp(time.time() - 5 * 86400 - 60),
    }
    return {**found, **more}


IMAGES = [
    {**image("", f"{HUB}/built:here", used_on=0), "digest": None, "image_id": LOCAL},
    image(NGINX, f"{HUB}/nginx:1.27", f"{HUB}/nginx:latest", nodes=9997),
    image(
        *(SHOP, f"{TEAM}/shop:1.4"),
        nodes=12,
        sizes=[71_303_168, 83_886_080],
        platforms=["linux/amd64", "linux/arm64/v8"],
    ),
    image(NEWER, nodes=3),
]


def page(*images: dict[str, Any], **more: Any) -> Answer:
    plain = [{k: v for k, v in each.items() if v is not None} for each in images]
    return Answer({"images": plain, "total": len(plain), **more})


def asked_for(controller: StubController) -> list[dict[str, str]]:
    """Return the parameters of each request, but for the size of pages."""
    queries = [dict(parse_qsl(each.query)) for each in controller.asked]
    return [{k: v for k, v in query.items() if k != "limit"} for query in queries]


def test_a_list_of_images_on_terminals_of_several_widths(
    asking: Here, controller: StubController
) -> None:
    controller.answers["GET /image"] = page(*IMAGES)
    compare("image-list", lambda width: asking("image", "list", columns=width).stdout)


def test_a_list_is_by_name_as_people_know_it_and_has_all_names_where_it_is_wide(
    asking: Here, controller: StubController
) -> None:
    controller.answers["GET /image"] = page(*IMAGES)
    listed = rows(asking("images").stdout)
    names = ["built:here", "nginx:1.27 +1", f"{TEAM}/shop:1.4", "-"]
    assert [row["IMAGE"] for row in listed] == names
    whole = rows(asking("images", "--no-trunc").stdout)
    assert whole[1]["IMAGE"] == "nginx:1.27, nginx:latest"
    assert asking("images", "-q").stdout.split() == [LOCAL, NGINX, SHOP, NEWER]
    assert json.loads(asking("images", "-o", "json").stdout)["total"] == 4


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ([], {}),
        (["nginx"], {"reference": "nginx"}),
        (["--digest", NGINX], {"digest": NGINX}),
        (["--node", "web-01", "--unused"], {"node": "web-01", "unused": "true"}),
        (["--drift"], {"drift": "true"}),
    ],
    ids=str,
)
def test_the_controller_chooses_the_images_that_are_asked_for(
    asking: Here, controller: StubController, arguments: list[str], query: dict[str, str]
) -> None:
    controller.answers["GET /image"] = page(IMAGES[0])
    assert asking("image", "list", *arguments).status == 0
    assert asked_for(controller) == [query]


def test_all_pages_are_listed_or_as_many_as_are_wanted(
    asking: Here, controller: StubController
) -> None:
    pages = [page(IMAGES[1], next_cursor=CURSOR), page(IMAGES[2])]
    controller.answers["GET /image"] = list(pages)
    assert len(asking("images", "-q").stdout.split()) == 2
    assert asked_for(controller) == [{}, {"cursor": CURSOR}]
    controller.asked.clear()
    controller.answers["GET /image"] = pages[0]
    assert asking("images", "-q", "--limit", "1").stdout.split() == [NGINX]
    assert [dict(parse_qsl(each.query)) for each in controller.asked] == [{"limit": "1"}]


def test_what_is_left_out_is_said_and_of_how_many_nodes_nothing_is_known(
    asking: Here, controller: StubController
) -> None:
    controller.answers["GET /image"] = page(*IMAGES[:2], total=4, unknown=3, next_cursor=CURSOR)
    said = asking("images", "--limit", "2").stderr.splitlines()
    assert said == ["4 in all: --limit shows more", "of 3 nodes it is unknown what they have"]
    assert asking("images", "--limit", "2", "-q").stderr == ""


def test_a_list_without_an_image_says_why_and_what_may_have_been_meant(
    asking: Here, controller: StubController
) -> None:
    controller.answers["GET /image"] = page()
    assert asking("images").stderr == "no node is known to have an image\n"
    assert asking("images", "--unused").stderr == "no image is one of these\n"
    controller.answers["GET /image"] = [page(), page(*IMAGES)]
    said = asking("image", "list", "ngnix:1.27").stderr
    assert said == "no image is one of these. Did you mean nginx:1.27?\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--live"],
        ["--on", "web-01"],
        ["--live", "--on", "web-01", "nginx"],
        ["--live", "--on", "web-01", "--drift"],
        ["--live", "--on", "web-01", "-w"],
    ],
    ids=" ".join,
)
def test_engines_are_asked_only_what_they_can_answer(asking: Here, arguments: list[str]) -> None:
    assert "--live" in failed(asking("image", "list", *arguments), 2)


def node(number: int, state: str, **more: Any) -> dict[str, Any]:
    named = {"hostname": f"web-{number:02}", "machine_id": f"{number:032x}", "state": state}
    digests = {"has": NGINX, "other": NEWER}
    held = {"digest": digests[state], "used": number % 3} if state in digests else {}
    return {**named, **held, "here": state != "unknown", **more}


def answer(*nodes: dict[str, Any], compared: str = "most", **more: Any) -> Answer:
    states = [each["state"] for each in nodes]
    counts = {each: states.count(each) for each in ("has", "other", "none", "unknown")}
    named = {"reference": f"{HUB}/nginx:1.27", "digest": NGINX, "compared": compared}
    return Answer({**named, "counts": counts, "nodes": list(nodes), **more})


FEW = [*(node(n, "has") for n in (1, 2, 4)), node(5, "other"), node(6, "none"), node(7, "unknown")]
MANY = [
    *(node(number, "has") for number in range(1, 60)),
    *(node(number, "other") for number in (60, 61)),
    *(node(number, "none") for number in range(62, 90)),
    *(node(number, "unknown") for number in (90, 91)),
    node(92, "unknown", here=True),
]
WHERE = ["image", "where", "nginx:1.27"]


@pytest.mark.parametrize(("name", "nodes"), [("few", FEW), ("many", MANY)], ids=["few", "many"])
def test_who_has_an_image_on_terminals_of_several_widths(
    asking: Here, controller: StubController, name: str, nodes: list[dict[str, Any]]
) -> None:
    controller.answers["GET /image/nodes"] = answer(*nodes)
    compare(f"image-where-{name}", lambda width: asking(*WHERE, columns=width).stdout)


def test_of_many_nodes_those_are_named_that_do_not_have_it_and_all_if_asked(
    asking: Here, controller: StubController
) -> None:
    pages = [answer(*MANY, next_cursor=CURSOR), answer(node(93, "none"))]
    pages[1].body["counts"] = pages[0].body["counts"]
    controller.answers["GET /image/nodes"] = list(pages)
    lines = asking(*WHERE).stdout.splitlines()
    assert lines[0].startswith("nginx:1.27: 59 have it, 2 another digest, 28 none, 3 unknown · ")
    assert "web-60, web-61" in lines[1]
    assert NEWER[:19] in lines[1]
    assert lines[2].endswith("web-89, web-93")
    assert lines[3:] == ["2 unknown, away: web-90, web-91", "1 unknown: web-92"]
    assert asked_for(controller) == [
        {"reference": f"{HUB}/nginx:1.27"},
        {"reference": f"{HUB}/nginx:1.27", "cursor": CURSOR},
    ]
    controller.answers["GET /image/nodes"] = answer(*MANY)
    everything = asking(*WHERE, "--all-nodes").stdout.splitlines()
    assert sum(line.startswith("web-") for line in everything) == len(MANY)


def test_scripts_are_given_the_nodes_that_have_it_or_of_which_something_else_is_so(
    asking: Here, controller: StubController
) -> None:
    twin = node(1, "has", machine_id="f" * 32)
    controller.answers["GET /image/nodes"] = answer(*FEW, twin)
    names = asking(*WHERE, "-q").stdout.split()
    assert names == [FEW[0]["machine_id"], "web-02", "web-04", "f" * 32]
    controller.answers["GET /image/nodes"] = answer(node(6, "none"))
    on = ["--on", "group:web", "--on", "db-01", "--only", "none"]
    assert asking(*WHERE, *on, "-q").stdout == "web-06\n"
    assert asked_for(controller)[-1] == {
        **{"reference": f"{HUB}/nginx:1.27", "target": "group:web;db-01"},
        "state": "none",
    }
    document = json.loads(asking(*WHERE, "-o", "json").stdout)
    assert (document["compared"], len(document["nodes"])) == ("most", 1)


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({"has": 3}, 0),
        ({"has": 3, "none": 1}, 1),
        ({"has": 3, "other": 1}, 1),
        ({"other": 1}, 1),
        ({"has": 3, "none": 1, "unknown": 1}, 1),
        ({"none": 3}, 3),
        ({"none": 3, "unknown": 1}, 3),
        ({"has": 3, "unknown": 1}, 4),
        ({"unknown": 1}, 4),
    ],
    ids=str,
)
def test_the_exit_status_says_whether_all_have_it(counts: dict[str, int], status: int) -> None:
    assert status_of(counts) == status


def test_a_name_that_nobody_has_is_answered_with_the_nearest(
    asking: Here, controller: StubController
) -> None:
    none = answer(node(6, "none"))
    del none.body["digest"], none.body["compared"]
    controller.answers = {"GET /image/nodes": none, "GET /image": page(*IMAGES)}
    done = asking("image", "where", "nginx:1.72")
    assert (done.status, done.stdout.splitlines()[0]) == (3, "nginx:1.72: 1 none")
    assert done.stderr == "no node is known to have it. Did you mean nginx:1.27?\n"
    controller.answers["GET /image"] = [page(), page(*IMAGES)]
    said = failed(asking("image", "show", "ngnix:1.27"), 2)
    assert "No node is known to have ngnix:1.27." in said
    assert "Did you mean nginx:1.27?" in said
    assert "is not an image reference" in failed(asking("image", "where", "Not An Image"), 2)


def declared(name: str, *images: dict[str, Any], status: str = "reconciling") -> dict[str, Any]:
    when = "2030-01-31T12:00:00Z"
    return {
        **{"name": name, "id": "1" * 32, "generation": 1, "etag": '"1-1"', "status": status},
        **{"target": "group:web", "nodes": 3, "follow": "tag", "every": "15m"},
        **{"created_at": when, "created_by": "ann", "changed_at": when, "changed_by": "ann"},
        "images": list(images),
    }


def wanted(image: str, current: str, **counts: Any) -> dict[str, Any]:
    none = dict.fromkeys(("missing", "failed", "unknown", "conflict"), 0)
    return {"image": image, "current": current, "converged": 40, **none, **counts}


STOPPED = "web-17 failed: manifest unknown"
SETS = [
    declared("shop", wanted(f"{TEAM}/shop:1.4", SHOP, missing=9, failed=1, stopped=STOPPED)),
    declared("base", wanted(f"{HUB}/nginx:1.27", NGINX, unknown=2), status="converged"),
]


def sets(*found: dict[str, Any]) -> Answer:
    return Answer({"sets": list(found), "total": len(found)})


def test_one_image_on_terminals_of_several_widths(asking: Here, controller: StubController) -> None:
    controller.answers = {"GET /image": page(IMAGES[2]), "GET /image/nodes": answer(*MANY[:59])}
    controller.answers["GET /set"] = sets(*SETS)
    shown = ["image", "show", f"{TEAM}/shop:1.4"]
    compare("image-show", lambda width: asking(*shown, columns=width).stdout)
    assert asked_for(controller)[-2] == {"reference": f"{TEAM}/shop@{SHOP}", "state": "has"}
    (one,) = json.loads(asking(*shown, "-o", "json").stdout)
    assert (len(one["on"]), one["wanted_by"]) == (59, ["shop"])


@pytest.mark.parametrize("text", [NGINX, NGINX[:19], NGINX[7:19], LOCAL[:19]])
def test_an_image_is_shown_by_as_much_of_its_digest_or_id_as_tables_have(
    asking: Here, controller: StubController, text: str
) -> None:
    controller.answers = {"GET /image": page(*IMAGES), "GET /image/nodes": answer(*FEW)}
    (shown,) = json.loads(asking("image", "show", text, "-o", "json").stdout)
    assert text in (shown.get("digest") or shown["image_id"])
    # What has no digest can't be asked for by name and digest.
    assert ("on" in shown) is (text != LOCAL[:19])
    assert "No node is known" in failed(asking("image", "show", "sha256:" + "0" * 12), 2)


DRIFT = [
    image(NGINX, f"{HUB}/nginx:1.27", nodes=59),
    image(NEWER, f"{HUB}/nginx:1.27", nodes=2),
    image(SHOP, f"{TEAM}/shop:1.4", nodes=40),
    image(LOCAL, f"{TEAM}/shop:1.4", nodes=9),
]


def drifting(controller: StubController) -> None:
    shop = [node(number, "other", digest=LOCAL) for number in range(1, 10)]
    others = [answer(node(60, "other"), node(61, "other")), answer(*shop, compared="set")]
    others[1].body["digest"] = SHOP
    controller.answers = {"GET /image": page(*DRIFT), "GET /image/nodes": others}
    controller.answers["GET /set"] = sets(*SETS)


def test_names_that_differ_on_terminals_of_several_widths(
    asking: Here, controller: StubController
) -> None:
    def printed(width: int) -> str:
        drifting(controller)
        return asking("image", "drift", columns=width).stdout

    compare("image-drift", printed)


def test_drift_is_a_status_and_names_the_nodes(asking: Here, controller: StubController) -> None:
    drifting(controller)
    done = asking("image", "drift", "-o", "json")
    assert done.status == 1
    document = json.loads(done.stdout)
    assert [each["name"] for each in document["sets"]] == ["shop"]
    first, second = document["names"]
    assert (first["name"], first["digest"]) == (f"{HUB}/nginx:1.27", NGINX)
    most, other = first["images"]
    assert (most["digest"], most["others"]) == (NGINX, [])
    assert [each["hostname"] for each in other["others"]] == ["web-60", "web-61"]
    assert second["compared"] == "set"
    drifting(controller)
    assert asking("image", "drift", "-q").stdout.split() == [
        f"{HUB}/nginx:1.27",
        f"{TEAM}/shop:1.4",
    ]
    controller.answers["GET /image"] = page()
    lines = asking("image", "drift").stdout.splitlines()
    assert lines[0] == "no name means different images on different nodes"
    assert lines[-1].endswith(f"9 missing, 1 failed; stopped: {STOPPED}")


@pytest.mark.parametrize(
    "unseen",
    [sets(SETS[1]), Answer({"error": "It lacks set:read."}, 403), Answer({"error": "No."}, 404)],
    ids=["met", "not allowed", "older"],
)
def test_where_nothing_differs_and_no_set_is_known_to_be_unmet_all_is_well(
    asking: Here, controller: StubController, unseen: Answer
) -> None:
    controller.answers = {"GET /image": page(), "GET /set": unseen}
    done = asking("image", "drift")
    assert (done.status, done.stdout) == (0, "no name means different images on different nodes\n")
    controller.answers["GET /set"] = Answer({"error": "The token has expired."}, 401)
    assert asking("image", "drift").status == 2
