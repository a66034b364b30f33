"""Everything that can be asked, by every role and with permissions that are narrowed.

What isn't said here to be let in has to be refused: what is new is, too.
"""

import httpx
import pytest

from tests.system.permissions.requests import (
    OF_NODES,
    OFFERED,
    OPEN,
    PREFIXES,
    each_prefix,
    job_of,
    may,
    send,
)
from tests.testing.answers import refused
from tests.testing.cluster import DB_1, WEB_1, Cluster

GUARDED = sorted(OFFERED.keys() - OPEN)
ROLES = ("admin", "write", "read", "nobody")
OWNED = {"job.cancel", "job.pause", "job.resume"}
"""What whoever made a job may do without any permission."""
OF_JOBS = {"job.delete", "job.events", "job.get", "job.progress", "job.retry"}
OF_AGENTS = {"agent.drain", "agent.get", "agent.undrain"}
LISTS = {"agent.list", "image.inventory", "image.nodes", "target.list"}
OF_SETS = {
    *("set.get", "set.history", "set.list", "set.nodes"),
    *("set.pause", "set.put", "set.remove", "set.resume", "set.rollback"),
}
INSIDE = OF_NODES | OF_JOBS | OWNED | OF_AGENTS | OF_SETS | LISTS
"""What a permission is of use for that is narrowed to some nodes: nothing else."""


def let_in(answer: httpx.Response) -> bool:
    """Return whether a request was let in, whatever became of it then."""
    assert answer.status_code != 401
    return answer.status_code != 403


def client(cluster: Cluster, *permissions: str, subject: str = "other") -> httpx.Client:
    return cluster.client(cluster.token("admin", permissions=[*permissions], subject=subject))


def permission_of(name: str) -> str:
    permission = OFFERED[name].permission
    assert permission is not None
    return permission


def test_what_is_open_to_everybody_is_known() -> None:
    assert {name for name, each in OFFERED.items() if each.permission is None} == OPEN
    assert {name for name, each in OFFERED.items() if each.owned} == OWNED
    assert {name for name, each in OFFERED.items() if each.narrows} == INSIDE - OWNED


@pytest.mark.parametrize("name", GUARDED)
def test_without_a_token_nothing_is_let_in(fleet: Cluster, name: str) -> None:
    for prefix in PREFIXES:
        refused(send(fleet.anyone, OFFERED[name], prefix), 401)


@pytest.mark.parametrize("name", GUARDED)
def test_each_role_is_let_in_where_it_has_the_permission_and_nowhere_else(
    fleet: Cluster, name: str
) -> None:
    permission = permission_of(name)
    for role in ROLES:
        caller = fleet.client(fleet.token(role, subject="other"))
        for prefix in each_prefix(fleet):
            # Others' jobs are an admin's, whatever the permission is.
            needed = permission if name not in ("job.delete", "job.retry") else "job:admin"
            answer = send(caller, OFFERED[name], prefix, id=job_of(fleet, WEB_1))
            assert let_in(answer) is may(role, needed)
            if not let_in(answer):
                assert repr(needed) in answer.json()["error"] or repr(permission) in answer.text


@pytest.mark.parametrize("name", GUARDED)
def test_its_permission_lets_in_and_all_others_together_do_not(fleet: Cluster, name: str) -> None:
    permission = permission_of(name)
    every = {each.permission for each in OFFERED.values() if each.permission is not None}
    further = {"job.delete": ["job:admin"], "job.retry": ["job:admin", "node:read"]}
    only = client(fleet, permission, *further.get(name, []))
    others = client(fleet, *(every - {permission}))
    for prefix in each_prefix(fleet):
        job = job_of(fleet, WEB_1)
        assert repr(permission) in refused(send(others, OFFERED[name], prefix, id=job), 403)
        assert let_in(send(only, OFFERED[name], prefix, id=job))


@pytest.mark.parametrize("scope", ["group:web", "web-*", WEB_1, f"{WEB_1},image=*"])
@pytest.mark.parametrize("name", sorted(OFFERED.keys() - OPEN - INSIDE))
def test_a_permission_that_is_narrowed_is_of_no_use_but_where_that_is_seen_to(
    fleet: Cluster, name: str, scope: str
) -> None:
    narrow = client(fleet, f"{permission_of(name)}@{scope}")
    for prefix in PREFIXES:
        said = refused(send(narrow, OFFERED[name], prefix, host="docker.io"), 403)
        assert f"only for {scope}" in said


@pytest.mark.parametrize("name", sorted(OF_NODES))
def test_an_operation_is_done_where_all_nodes_are_inside(fleet: Cluster, name: str) -> None:
    narrow = client(fleet, f"{permission_of(name)}@group:web")
    for prefix in PREFIXES:
        for inside in (WEB_1, "group:web", "group:web.dev", fleet.machine_id(WEB_1), "_any"):
            assert let_in(send(narrow, OFFERED[name], prefix, hostname=inside))
        for outside in (DB_1, "_all", "group:website", fleet.machine_id(DB_1)):
            said = refused(send(narrow, OFFERED[name], prefix, hostname=outside), 403)
            assert f"{DB_1} is outside" in said
            assert WEB_1 not in said


@pytest.mark.parametrize("name", sorted(OF_JOBS | OWNED))
def test_a_job_is_shown_and_steered_where_all_its_nodes_are_inside(
    fleet: Cluster, name: str
) -> None:
    permissions = {permission_of(name), "job:admin", "node:read"}
    narrow = client(fleet, *(f"{each}@group:web" for each in permissions))
    for prefix in PREFIXES:
        assert let_in(send(narrow, OFFERED[name], prefix, id=job_of(fleet, "group:web")))
        for target in ("_all", DB_1):
            said = refused(send(narrow, OFFERED[name], prefix, id=job_of(fleet, target)), 403)
            assert f"{DB_1} is outside" in said


@pytest.mark.parametrize("name", [name for name, each in sorted(OFFERED.items()) if each.once])
def test_what_a_stream_answers_in_one_is_inside_too(fleet: Cluster, name: str) -> None:
    narrow = client(fleet, f"{permission_of(name)}@group:web")
    narrow.headers["Accept"] = "application/json"
    inside = send(narrow, OFFERED[name], id=job_of(fleet, "group:web"))
    assert inside.headers["Content-Type"] == "application/json"
    assert let_in(inside)
    said = refused(send(narrow, OFFERED[name], id=job_of(fleet, "_all")), 403)
    assert f"{DB_1} is outside" in said


@pytest.mark.parametrize("name", sorted(OF_AGENTS))
def test_a_node_is_shown_drained_and_undrained_where_it_is_inside(
    fleet: Cluster, name: str
) -> None:
    narrow = client(fleet, f"{permission_of(name)}@group:web")
    for prefix in each_prefix(fleet):
        assert let_in(send(narrow, OFFERED[name], prefix, hostname=WEB_1))
        for outside in (DB_1, fleet.machine_id(DB_1)):
            said = refused(send(narrow, OFFERED[name], prefix, hostname=outside), 403)
            assert f"{DB_1} is outside" in said
    assert fleet.node(DB_1)["state"] == "Ready"  # type: ignore[index]
