"""Operations that only tests know."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from towline.operation import NODE, Effect, Operation, catalog, operation


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


@contextlib.contextmanager
def registered(run: Callable[..., Any], *effects: Effect) -> Iterator[None]:
    """Have the catalog know `test.read` and the like, for each of these effects, for a while."""
    names = [f"test.{effect.value}" for effect in effects]
    for name, effect in zip(names, effects, strict=True):
        route = f"POST {name.replace('.', '/')}"
        operation(name, route, permission="test:write", effect=effect)(run)
    yield
    for name in names:
        catalog.remove(name)
