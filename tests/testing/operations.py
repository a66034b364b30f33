"""Operations that no catalog knows, for tests of what operations are."""

from collections.abc import Callable
from typing import Any

import msgspec

from towline.operation import NODE, Effect, Operation


class Done(msgspec.Struct):
    changed: bool = False


def make(
    function: Callable[..., Any],
    name: str = "ship.sail",
    route: str = "POST ship",
    permission: str = "ship:write",
    effect: Effect = Effect.CONVERGE,
    **more: Any,
) -> Operation[..., Any]:
    """Make an operation that no registry knows."""
    options: dict[str, Any] = {"requires": NODE, "success": None, **more}
    return Operation(
        function, name=name, route=route, permission=permission, effect=effect, **options
    )
