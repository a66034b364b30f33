"""The OpenAPI document taken apart, and answers checked against it."""

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs

from tests.testing.cluster import PULL

PULL_PATH = f"/node/{{hostname}}/{PULL}"
LIST_PATH = "/node/{hostname}/container/docker"
LOAD_PATH = "/node/{hostname}/load"
JOB_PATH = "/job/{id}"
REGISTRY_PATH = "/registry/{host}"
OF_HTTP = {
    *("content-type", "content-length", "content-encoding", "vary", "date"),
    *("cache-control", "x-content-type-options"),
}
"""Headers that say how an answer was sent, and that any answer may have."""


def entries(api: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and entry of all there is."""
    for path, methods in api["paths"].items():
        for method, entry in methods.items():
            yield path, method, entry


def content(api: dict[str, Any], holder: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a body."""
    # A stream has no schema.
    assert holder["content"].keys() - {"text/event-stream"} == {"application/json"}
    reference = holder["content"]["application/json"]["schema"]["$ref"]
    found: dict[str, Any] = resolved(api, reference)
    return found


def resolved(api: dict[str, Any], reference: str) -> Any:
    """Return what a reference within the document means; KeyError if it is not there."""
    found: Any = api
    head, *keys = reference.split("/")
    assert head == "#"
    for key in keys:
        found = found[key]
    return found


def closed(part: Any) -> Any:
    """Return a schema that refuses every property it doesn't name."""
    if isinstance(part, list):
        return [closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    shut = {key: closed(value) for key, value in part.items()}
    if isinstance(part.get("properties"), dict):
        shut.setdefault("additionalProperties", False)
    return shut


def conforms(api: dict[str, Any], path: str, answer: httpx.Response) -> None:
    """Check an answer against what is documented of it: status, headers, each field."""
    entry = api["paths"][path][answer.request.method.lower()]
    documented = entry["responses"][str(answer.status_code)]
    if answer.status_code == 204:
        assert "content" not in documented
        assert answer.content == b""
        return
    assert answer.headers["Content-Type"] in documented["content"]
    headers = documented.get("headers", {})
    sent = {name.lower() for name in answer.headers} - OF_HTTP
    assert sent <= {name.lower() for name in headers}
    assert sent >= {name.lower() for name, each in headers.items() if each.get("required")}
    holds(api, documented["content"]["application/json"]["schema"], answer.json())


def holds(api: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    """Check a value against a schema of the document that allows nothing beyond it."""
    whole = {**schema, "components": {"schemas": closed(api["components"]["schemas"])}}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)
