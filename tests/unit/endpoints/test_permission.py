"""What has no permission is offered by nobody."""

from typing import Any

import pytest

from tests.testing.operations import Done, make
from towline.endpoint import Context, endpoint
from towline.endpoints import offered


async def look(context: Context) -> Done:
    return Done()


@pytest.mark.parametrize("said", [{}, {"owned": True}, {"narrows": True}, {"needs": "a token"}])
def test_an_endpoint_without_a_permission_is_none_unless_it_is_open(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"ship\.look: it has a permission, or is open"):
        endpoint("ship.look", "GET /ship", **said)(look)
    assert "ship.look" not in {each.name for each in offered}


@pytest.mark.parametrize("permission", ["", "ship", "ship:", "Ship:read", "ship:read@web", "*:*"])
def test_what_is_no_permission_makes_no_endpoint_and_no_operation(permission: str) -> None:
    async def sail(node: Any) -> Done:
        return Done()

    with pytest.raises(ValueError, match="does not match"):
        endpoint("ship.look", "GET /ship", permission=permission)
    with pytest.raises(ValueError, match="does not match"):
        make(sail, permission=permission)


def test_what_is_open_has_no_permission_beside_it() -> None:
    with pytest.raises(ValueError, match="or is open"):
        endpoint("ship.look", "GET /ship", permission="ship:read", open=True)(look)
