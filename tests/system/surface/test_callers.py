"""Who may ask for what: permissions and roles."""

import pytest

from tests.system.surface.facts import OPERATIONS, SURFACE
from tests.system.surface.requests import GOOD, split, unnamed
from tests.testing.answers import refused
from tests.testing.cluster import Cluster
from towline.controller.auth import ROLES

GUARDED = [operation for operation in GOOD if OPERATIONS[operation].permission]


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
@pytest.mark.parametrize("operation", GUARDED)
def test_a_token_without_its_permission_is_refused_by_name(
    fleet: Cluster, operation: str, header: str
) -> None:
    permission = OPERATIONS[operation].permission
    others = [each for each in SURFACE.roles["admin"] if each != permission]
    token = fleet.token("admin", permissions=others)
    headers = {header: f"Bearer {token}" if header == "Authorization" else token}
    method = split(operation)[0]
    answer = fleet.anyone.request(method, unnamed(operation), headers=headers)
    refused(answer, 403)
    assert repr(permission) in answer.json()["error"]


@pytest.mark.parametrize("role", SURFACE.roles)
@pytest.mark.parametrize("operation", GUARDED)
def test_a_role_may_do_what_it_is_to_and_nothing_else(
    fleet: Cluster, operation: str, role: str
) -> None:
    may = OPERATIONS[operation].permission in SURFACE.roles[role]
    headers = {"Authorization": f"Bearer {fleet.token(role)}"}
    answer = fleet.anyone.request(split(operation)[0], unnamed(operation), headers=headers)
    assert answer.status_code != 401
    assert (answer.status_code != 403) is may


def test_the_roles_hold_the_permissions_of_the_whole_surface() -> None:
    asked = {fact.permission for fact in OPERATIONS.values()} - {None}
    assert asked == set(SURFACE.roles["admin"])
    # Others are of operations that the surface hasn't.
    assert {role: held & asked for role, held in ROLES.items()} == {
        role: set(held) for role, held in SURFACE.roles.items()
    }
