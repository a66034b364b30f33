"""Answers of newer controllers, as the clients of this version take them."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from towline.endpoint import AnyEndpoint
from towline.endpoints import offered
from towline.endpoints.operations import endpoint_of
from towline.operation import catalog

EVERY = [*offered, *(endpoint_of(operation) for operation in catalog)]


def closed(kind: Any, seen: set[type]) -> Iterator[str]:
    """Yield the fields of a type that take only what they take today."""
    if isinstance(kind, inspect.StructType):
        if kind.cls in seen:
            return
        seen.add(kind.cls)
        if kind.forbid_unknown_fields:
            yield f"{kind.cls.__name__}: fields"
        for field in kind.fields:
            for found in closed(field.type, seen):
                yield f"{kind.cls.__name__}.{field.name}: {found}"
    elif isinstance(kind, inspect.LiteralType | inspect.EnumType):
        yield "values"
    for name in ("type", "types", "item_type", "item_types", "key_type", "value_type"):
        inner = getattr(kind, name, ())
        for each in inner if isinstance(inner, tuple) else (inner,):
            if isinstance(each, inspect.Type):
                yield from closed(each, seen)


@pytest.mark.parametrize("endpoint", EVERY, ids=lambda each: each.name)
def test_a_client_takes_fields_and_values_that_newer_controllers_add(
    endpoint: AnyEndpoint,
) -> None:
    # Of two families of addresses there will be no more than these three combinations.
    for result in (endpoint.result, endpoint.once_result):
        if result is not None:
            found = list(closed(inspect.type_info(result), set()))
            assert [each for each in found if "Interface.family" not in each] == []


class Pair(msgspec.Struct, forbid_unknown_fields=True):
    """What the test above would find."""

    one: list[int]


def test_what_is_closed_is_found() -> None:
    assert list(closed(inspect.type_info(list[Pair]), set())) == ["Pair: fields"]
