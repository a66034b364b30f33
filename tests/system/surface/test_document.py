"""What the OpenAPI document says of operations agrees with the surface."""

from typing import Any

import pytest

from tests.system.surface.comparison import Comparison
from tests.system.surface.facts import OPERATIONS, SURFACE, Schema
from tests.system.surface.requests import GOOD, PULL_OPERATION, RETRY, refusals

MORE_STATUSES = (
    ".results[].status: ['cancelled', 'expired', 'pending', 'running'] beside "
    "['ok', 'failed', 'skipped']"
)
SENT = {PULL_OPERATION: ["body.image: minLength 1 for None"]}
ANSWERED = {operation: [MORE_STATUSES] for operation in GOOD if "/node/" in operation}
"""Where ours differ, and are to: the contract of the pull says more, and stands above the surface.
A node that has ended has one of the surface's statuses unless its job was stopped."""


@pytest.fixture(scope="module")
def entries(api: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The document's entries, by method and path."""
    return {
        f"{method.upper()} {path}": entry
        for path, methods in api["paths"].items()
        for method, entry in methods.items()
    }


def json_schema(holder: dict[str, Any]) -> Schema:
    schema: Schema = holder["content"]["application/json"]["schema"]
    return schema


@pytest.mark.parametrize("operation", GOOD)
def test_what_clients_send_is_documented(
    api: dict[str, Any], entries: dict[str, dict[str, Any]], operation: str
) -> None:
    fact, entry = OPERATIONS[operation], entries[operation]
    comparison = Comparison(api["components"]["schemas"], SURFACE.definitions, sent=True)
    ours = {(each["in"], each["name"]): each for each in entry.get("parameters", [])}
    for name, parameter in fact.parameters.items():
        found = ours.pop((parameter.place, name))
        assert found["required"] is parameter.required
        comparison.compare(found["schema"], parameter.schema, name)
    assert not any(each["required"] for (_, name), each in ours.items() if name != "hostname")
    if fact.body is not None:
        comparison.compare(json_schema(entry["requestBody"]), fact.body.schema, "body")
    else:
        assert not entry.get("requestBody", {}).get("required")
    assert comparison.missing == []
    assert comparison.differences == SENT.get(operation, [])


@pytest.mark.parametrize("operation", GOOD)
def test_what_is_answered_is_documented(
    api: dict[str, Any], entries: dict[str, dict[str, Any]], operation: str
) -> None:
    fact, responses = OPERATIONS[operation], entries[operation]["responses"]
    assert {str(fact.success.code), *map(str, refusals(operation))} <= responses.keys()
    dry = operation in (*ANSWERED, RETRY)
    # A dry run is answered with 200; where the operation itself is too, with one of two schemas.
    codes = [str(fact.success.code), *(["200"] if dry and fact.success.code != 200 else [])]
    assert [code for code in responses if code < "300"] == codes
    comparison = Comparison(api["components"]["schemas"], SURFACE.definitions)
    success = responses[str(fact.success.code)]
    if fact.answer is not None:
        schema = json_schema(success)
        comparison.compare(schema["oneOf"][0] if "oneOf" in schema else schema, fact.answer)
    print(f"{operation} lacks:", ", ".join(comparison.missing) or "nothing")
    assert comparison.differences == ANSWERED.get(operation, [])
