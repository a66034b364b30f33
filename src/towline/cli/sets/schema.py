"""The JSON schema of a set's document, for editors and for whoever checks files in git."""

from __future__ import annotations

from typing import Any

import msgspec

from towline.endpoints import sets
from towline.signature import Place

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the schema: what the API takes in the body of `PUT /set/{name}`, and the name."""
    kinds = [sets.put.signature.struct(place) for place in (Place.PATH, Place.BODY)]
    found, components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    path, body = (components.pop(each["$ref"].rpartition("/")[2]) for each in found)
    whole = {
        "$schema": DIALECT,
        "title": "A set of images that Towline keeps on nodes",
        "type": "object",
        "properties": {**path["properties"], **body["properties"]},
        "required": [*path["required"], *body["required"]],
        "additionalProperties": False,
        **({"$defs": components} if components else {}),
    }
    return {name: _for_documents(each) for name, each in whole.items()}


def _for_documents(schema: Any) -> Any:
    """Return a schema as documents have it: nothing in them is null, and `$` ends a text."""
    if isinstance(schema, list):
        return [_for_documents(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _for_documents(each) for name, each in schema.items()}
    if isinstance(found.get("pattern"), str):
        found["pattern"] = found["pattern"].replace(r"\A", "^").replace(r"\Z", "$")
    kinds = [each for each in found.get("anyOf", []) if each != {"type": "null"}]
    if len(kinds) < len(found.get("anyOf", [])):
        del found["anyOf"]
        if found.get("default", "") is None:
            del found["default"]
        found |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return found
