"""Sets over HTTP: declared, replaced, read, steered and removed, and what is refused."""

from typing import Any

import pytest

from tests.system.sets.conftest import Declare
from tests.testing.answers import refused
from tests.testing.cluster import DB_1, LABELS, WEB_1, WEB_2, Cluster
from tests.testing.process import wait_until

NGINX = "docker.io/library/nginx:1.27"
FULL: dict[str, Any] = {
    "target": "group:web",
    "images": ["nginx:1.27", {"image": "redis:7", "platform": "linux/arm64"}],
    "follow": "digest",
    "every": "15m",
    "window": "02:00-04:00 Europe/Berlin",
    "keep": 2,
    "options": {"canary": 1, "max_parallel": "10%", "max_failures": 5},
    "source": "git",
}


def test_what_is_declared_is_shown_and_declared_again_changes_nothing(
    fleet: Cluster, declare: Declare
) -> None:
    made = declare(**FULL)
    assert made.status_code == 201
    found = made.json()
    assert made.headers["ETag"] == found["etag"] == f'"{found["id"]}-1"'
    assert {each: found[each] for each in FULL if each != "images"} == {
        each: value for each, value in FULL.items() if each != "images"
    }
    assert [(each["image"], each.get("platform")) for each in found["images"]] == [
        (NGINX, None),
        ("docker.io/library/redis:7", "linux/arm64"),
    ]
    assert found["nodes"] == 2
    again = declare(
        **FULL | {"every": "900", "images": ["docker.io/nginx:1.27", FULL["images"][1]]}
    )
    assert (again.status_code, again.headers["ETag"]) == (200, found["etag"])
    read = fleet.reader.get("/set/web")
    assert read.headers["ETag"] == found["etag"]
    assert read.json()["changed_at"] == found["changed_at"]
    changed = declare()
    assert (changed.status_code, changed.json()["generation"]) == (200, 2)
    assert changed.json()["id"] == found["id"]
    assert "window" not in changed.json()
    history = fleet.reader.get("/set/web/history").json()
    assert [each["what"] for each in history["changes"]] == ["changed", "declared"]
    assert fleet.reader.get("/set").json()["total"] == 1


def test_only_what_was_seen_is_replaced(fleet: Cluster, declare: Declare) -> None:
    only_new, only_there = {"If-None-Match": "*"}, {"If-Match": "*"}
    assert "There is no set 'web'" in refused(declare(headers=only_there), 412)
    first = declare(headers=only_new)
    assert first.status_code == 201
    assert "There is a set 'web' already" in refused(declare(headers=only_new), 412)
    second = declare(images=["redis"], headers={"If-Match": first.headers["ETag"]})
    assert second.status_code == 200
    stale = {"If-Match": first.headers["ETag"]}
    assert "generation 2" in refused(declare(headers=stale), 412)
    assert "generation 2" in refused(fleet.admin.delete("/set/web", headers=stale), 412)
    assert "If-Match" in refused(declare(headers={"If-Match": "web-1"}), 400)
    weak = {"If-Match": f"W/{second.headers['ETag']}"}
    refused(declare(headers=weak), 412)
    either = {"If-Match": f'"x", {second.headers["ETag"]}'}
    assert declare(headers=either).status_code == 200
    # One of the same name that is made later is another.
    fleet.admin.delete("/set/web").raise_for_status()
    refused(declare(headers=either), 412)
    assert declare().json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("Web", {}, "is no name of a set"),
        (".web", {}, "is no name of a set"),
        ("w" * 64, {}, "is no name of a set"),
        ("web", {"target": "_any"}, "means any one node"),
        ("web", {"target": "_any,group:web"}, "means any one node"),
        ("web", {"target": "a b"}, "'a b' is not a target"),
        ("web", {"images": []}, "`$.images`"),
        ("web", {"images": ["NGINX"]}, "write 'nginx'"),
        ("web", {"images": [{"image": "nginx", "platform": "arm64"}]}, "is not a platform"),
        ("web", {"images": [{"image": "nginx", "tag": "1"}]}, "unknown field `tag`"),
        ("web", {"images": ["nginx", "docker.io/nginx:latest"]}, "stands there twice"),
        ("web", {"images": ["nginx"] * 101}, "`$.images`"),
        ("web", {"every": "9s"}, "'9s' is not between 10s and 30d"),
        ("web", {"every": "soon"}, "is not a duration"),
        ("web", {"window": "02:00-04:00"}, "names no time zone"),
        ("web", {"keep": -1}, "`$.keep`"),
        ("web", {"options": {"canary": "0"}}, "`canary`"),
        ("web", {"options": {"max_failures": 1}}, "give `max_parallel` or `canary`"),
        ("web", {"options": {"expires": "1h"}}, "unknown field `expires`"),
        ("web", {"follow": "latest"}, "`$.follow`"),
    ],
    ids=lambda each: str(each)[:60],
)
def test_what_can_not_be_declared_is_refused_with_the_mend(
    fleet: Cluster, declare: Declare, name: str, body: dict[str, Any], says: str
) -> None:
    assert says in refused(declare(name, **body), 400)
    assert fleet.reader.get("/set").json() == {"sets": [], "total": 0}


def test_a_dry_run_says_what_it_would_come_to_and_declares_nothing(
    fleet: Cluster, declare: Declare
) -> None:
    foreseen = declare(dry_run=True)
    assert foreseen.status_code == 200
    found = foreseen.json()
    assert (found["result"], found["generation"], found["total"]) == ("created", 1, 2)
    assert [each["hostname"] for each in found["nodes"]] == [WEB_1, WEB_2]
    assert fleet.reader.get("/set").json()["total"] == 0
    etag = declare().headers["ETag"]
    assert declare(dry_run=True).json()["result"] == "unchanged"
    found = declare(dry_run=True, target="_all", headers={"If-Match": etag}).json()
    assert (found["result"], found["generation"], found["total"]) == ("changed", 2, len(LABELS))
    refused(declare(dry_run=True, headers={"If-None-Match": "*"}), 412)
    assert fleet.reader.get("/set/web").headers["ETag"] == etag


def test_a_target_may_mean_nobody_yet(fleet: Cluster, declare: Declare) -> None:
    found = declare(target="group:tomorrow").json()
    assert (found["nodes"], found["status"]) == (0, "converged")
    assert fleet.reader.get("/set/web/nodes").json() == {"nodes": [], "total": 0, "states": {}}


def test_nodes_are_listed_page_by_page(fleet: Cluster, declare: Declare) -> None:
    declare(target="_all", images=["nginx:1.27", "redis:7"])
    rows, asked = [], {"limit": "4"}
    while True:
        page = fleet.reader.get("/set/web/nodes", params=asked).raise_for_status().json()
        assert page["total"] == 2 * len(LABELS)
        rows += page["nodes"]
        if "next_cursor" not in page:
            break
        assert len(page["nodes"]) == 4
        asked["cursor"] = page["next_cursor"]
    assert [each["hostname"] for each in rows] == [DB_1, DB_1, WEB_1, WEB_1, WEB_2, WEB_2]
    assert [each["image"].rpartition(":")[2] for each in rows] == ["1.27", "7"] * 3
    unknown = fleet.reader.get("/set/web/nodes", params={"state": rows[0]["state"]}).json()
    assert unknown["total"] == unknown["states"][rows[0]["state"]]
    assert fleet.reader.get("/set/web/nodes", params={"state": "failed"}).json()["nodes"] == []
    of_one = fleet.reader.get("/set/web/nodes", params={"image": "redis:7"}).json()
    assert {each["image"] for each in of_one["nodes"]} == {rows[1]["image"]}
    assert of_one["total"] == sum(of_one["states"].values()) == len(LABELS)
    assert "cursor" in refused(fleet.reader.get("/set/web/nodes", params={"cursor": "x"}), 400)


def test_a_set_is_paused_and_resumed_by_whoever_may(fleet: Cluster, declare: Declare) -> None:
    declare()
    for _ in range(2):
        paused = fleet.admin.post("/set/web/pause").raise_for_status().json()
        assert (paused["status"], paused["paused_by"]) == ("paused", "tests")
    for _ in range(2):
        assert "paused_at" not in fleet.admin.post("/set/web/resume").raise_for_status().json()
    what = [each["what"] for each in fleet.reader.get("/set/web/history").json()["changes"]]
    assert what == ["resumed", "paused", "declared"]
    assert "no other digest" in refused(fleet.admin.post("/set/web/rollback"), 409)
    other = fleet.admin.post("/set/web/rollback", params={"image": "redis"})
    assert "has no image redis:latest" in refused(other, 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", f"/set/none{each}") for each in ("", "/nodes", "/history")),
        *(("POST", f"/set/none/{each}") for each in ("rollback", "pause", "resume")),
        ("DELETE", "/set/none"),
    ],
)
def test_of_a_set_that_is_not_there_nothing_is_done(fleet: Cluster, method: str, path: str) -> None:
    assert "There is no set 'none'" in refused(fleet.admin.request(method, path), 404)


def test_who_declared_and_removed_what_stands_in_the_audit(
    fleet: Cluster, declare: Declare
) -> None:
    declare("audited")
    declare("audited", dry_run=True, images=["redis"])
    fleet.admin.delete("/set/audited").raise_for_status()

    def recorded() -> list[str]:
        items = fleet.admin.get("/audit").raise_for_status().json()["items"]
        return [each["operation_id"] for each in items if each["path"] == "/set/audited"]

    wait_until(lambda: "set.remove" in recorded())
    assert recorded() == ["set.remove", "set.put"]
