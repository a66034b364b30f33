"""The facts of the wider surface, as tests/surface.json has them, and answers held against them.

Schemas are JSON Schema (2020-12); `ip` and `cidr` are formats of its own. `hostname` in a path is
always a target, and no parameter there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec

Schema = dict[str, Any]


class Parameter(msgspec.Struct, frozen=True):
    """A parameter; `place` is path or query."""

    place: str = msgspec.field(name="in")
    required: bool
    schema: Schema


class Body(msgspec.Struct, frozen=True):
    """What is sent, and its media type."""

    type: str
    schema: Schema


class Success(msgspec.Struct, frozen=True):
    """What is answered: either the whole, or what `results` have of a node."""

    code: int
    schema: Schema | None = None
    results: Schema | None = None


class Fact(msgspec.Struct, frozen=True):
    """All that is known of an operation."""

    permission: str | None
    success: Success
    errors: list[int]
    parameters: dict[str, Parameter] = {}
    body: Body | None = None

    @property
    def answer(self) -> Schema | None:
        """The schema of the whole answer."""
        if self.success.results is None:
            return self.success.schema
        properties = {
            "job_id": {"type": "string", "format": "uuid"},
            "results": {"type": "array", "items": self.success.results},
        }
        return {"type": "object", "required": ["results"], "properties": properties}


class Surface(msgspec.Struct, frozen=True):
    """The whole; operations by method and path."""

    roles: dict[str, list[str]]
    operations: dict[str, Fact]
    definitions: dict[str, Schema] = msgspec.field(name="$defs")


SURFACE = msgspec.json.decode(
    Path(__file__).parents[2].joinpath("surface.json").read_bytes(), type=Surface
)
OPERATIONS = SURFACE.operations


def resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Return a schema, or that which it refers to."""
    while "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    return schema


def holds(schema: Schema, value: object) -> None:
    """Check an answer: each field has its type, those that are required are there, none is null."""
    whole = {**schema, "$defs": SURFACE.definitions}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)
    assert list(nulls(value)) == []


def nulls(value: object, where: str = "") -> Iterator[str]:
    """Yield where null stands in an answer."""
    if value is None:
        yield where
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from nulls(part, f"{where}.{name}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from nulls(part, f"{where}[{number}]")
