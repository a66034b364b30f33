"""Who may see and change which sets: with whole permissions, and with narrowed ones."""

import time
from typing import Any

import httpx
import pytest

from tests.system.sets.conftest import Declare
from tests.testing.answers import refused
from tests.testing.cluster import DB_1, WEB_1, Cluster

STEERED = ("POST /set/web/pause", "POST /set/web/resume", "POST /set/web/rollback")


def who(fleet: Cluster, *permissions: str) -> httpx.Client:
    return fleet.client(fleet.token("admin", permissions=[*permissions], subject="other"))


def test_a_change_takes_both_permissions(fleet: Cluster, declare: Declare) -> None:
    declare()
    for held, lacking in (("set:write", "docker:write"), ("docker:write", "set:write")):
        caller = who(fleet, held, "set:read")
        assert repr(lacking) in refused(declare(by=caller, images=["redis"]), 403)
        assert repr(lacking) in refused(declare("other", by=caller, dry_run=True), 403)
        for request in (*STEERED, "DELETE /set/web"):
            assert repr(lacking) in refused(caller.request(*request.split()), 403)
    caller = who(fleet, "set:write", "docker:write")
    assert declare(by=caller, images=["redis"]).json()["changed_by"] == "other"
    caller.delete("/set/web").raise_for_status()


@pytest.mark.parametrize(
    ("permissions", "inside", "outside"),
    [
        (
            ("set:write", "docker:write@group:web"),
            ({}, {"target": "group:web.dev"}, {"target": f"{WEB_1},group:web"}),
            (
                ({"target": "_all"}, f"{DB_1} is outside"),
                ({"target": DB_1}, f"{DB_1} is outside"),
                ({"target": WEB_1}, "write ',group:web' behind it"),
                ({"target": "group:tomorrow"}, "may come to mean nodes outside"),
            ),
        ),
        (
            ("set:write@group:web", "docker:write"),
            ({},),
            (({"target": "_all"}, f"{DB_1} is outside"), ({"target": WEB_1}, "may come to mean")),
        ),
        (
            ("set:write", "docker:write@image=docker.io/library/nginx:*"),
            ({"target": "_all"},),
            (({"images": ["nginx", "redis"]}, "'docker.io/library/redis:latest' is outside"),),
        ),
    ],
)
def test_a_narrowed_permission_has_to_cover_all_that_is_and_could_be_meant(
    fleet: Cluster,
    declare: Declare,
    permissions: tuple[str, ...],
    inside: tuple[dict[str, Any], ...],
    outside: tuple[tuple[dict[str, Any], str], ...],
) -> None:
    caller = who(fleet, *permissions)
    for count, body in enumerate(inside):
        assert declare(f"inside-{count}", by=caller, **body).status_code == 201
    for body, says in outside:
        assert says in refused(declare("outside", by=caller, **body), 403)
        # What is declared by others is neither replaced nor steered.
        declare("theirs", **body).raise_for_status()
        assert says in refused(declare("theirs", by=caller), 403)
        assert says in refused(caller.post("/set/theirs/pause"), 403)
        assert says in refused(caller.delete("/set/theirs"), 403)


def test_a_narrowed_permission_to_read_shows_the_sets_that_lie_inside(
    fleet: Cluster, declare: Declare
) -> None:
    declare("web")
    declare("all", target="_all")
    caller = who(fleet, "set:read@group:web")
    listed = caller.get("/set").raise_for_status().json()
    assert [each["name"] for each in listed["sets"]] == ["web"]
    for path in ("", "/nodes", "/history"):
        assert caller.get(f"/set/web{path}").status_code == 200
        assert "may come to mean" in refused(caller.get(f"/set/all{path}"), 403)


def test_no_token_has_the_subject_of_a_set(fleet: Cluster) -> None:
    asked = {"subject": "set:web", "roles": ["read"], "expires": "1h"}
    assert "doesn't begin with 'set:'" in refused(fleet.admin.post("/token", json=asked), 400)
    now = int(time.time())
    claims = {"sub": "set:web", "jti": "t", "roles": ["admin"], "iat": now, "exp": now + 60}
    forged = fleet.client(fleet.keys.sign(claims))
    assert "no token stands for one" in refused(forged.get("/set"), 401)
