"""What nodes say of an operation before it is done: a read of its own, which dry runs ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class Preview:
    """What nodes foresee of an operation.

    Its function takes the node, and those of the operation's parameters that it needs. It returns a
    struct, or raises `TaskFailed` where the operation would for sure, and changes nothing. Nodes
    are asked for some five seconds.

    Attributes:
        name: under which nodes are asked. It is no operation's, so that a node whose version has
            none says so, and does nothing.
        function: takes what the operation's takes.
        result: the struct type that it returns.
        effect: that of a read.
        finds: the field of what it returns that all others are given, where one node goes first
            (`leads`): the `lead` of their release. None where there is none.

    Args:
        name: the operation's; so are `parameters`, `read`, `requires` and `credential_for`.

    Raises:
        ValueError: the function has parameters that the operation has not.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        result: type[msgspec.Struct],
        finds: str | None,
        *,
        parameters: type[msgspec.Struct],
        read: Callable[..., msgspec.Struct],
        requires: str,
        credential_for: Callable[[Mapping[str, Any]], str | None],
        effect: Any,
    ) -> None:
        self.name = f"{name}.preview"
        self.result = result
        self.effect = effect
        self.finds = finds
        self.requires = requires
        self.read = read
        self.credential_for = credential_for
        _, *names = inspect.signature(function).parameters
        if unknown := set(names) - set(parameters.__struct_fields__):
            raise ValueError(f"{self.name}: {', '.join(sorted(unknown))} is no parameter")
        if finds is not None and finds not in result.__struct_encode_fields__:
            raise ValueError(f"{self.name}: it returns no {finds}")

        async def called(node: Any, **given: Any) -> Any:
            return await function(node, **{name: given[name] for name in names})

        self.function = called
