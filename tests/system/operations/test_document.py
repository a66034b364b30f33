"""A new operation's entry in the OpenAPI document is made from its signature."""

from pathlib import Path
from typing import Any

import pytest

from tests.system.openapi.document import entries
from tests.system.openapi.generated import check_generated
from tests.testing.cluster import Cluster
from towline.operations import docker, node


@pytest.fixture(scope="module")
def api(extended: Cluster) -> dict[str, Any]:
    """The OpenAPI document."""
    document: dict[str, Any] = extended.anyone.get("/openapi.json").json()
    return document


def test_the_document_has_it(api: dict[str, Any]) -> None:
    entry = api["paths"]["/node/{hostname}/signal"]["post"]
    assert entry["operationId"] == "signal.hoist"
    assert entry["summary"] == "Hoist a text in flags."
    assert "`signal:write`" in entry["description"]
    statuses = ("200", "202", "400", "401", "403", "409", "413", "415", "429", "500")
    assert entry["responses"].keys() == {*statuses}
    assert entry["requestBody"]["required"] is True
    body = schema(api, entry["requestBody"])
    assert body["properties"] == {"text": {"type": "string"}}
    assert body["required"] == ["text"]
    assert body["additionalProperties"] is False
    assert schema(api, entry["responses"]["200"])["properties"]["dry_run"]["const"] is True
    items = schema(api, entry["responses"]["202"])["properties"]["results"]["items"]
    assert items == {"$ref": "#/components/schemas/SignalHoistResult"}
    result = api["components"]["schemas"]["SignalHoistResult"]
    assert result["properties"].keys() == {
        *("hostname", "machine_id", "status", "flags", "error", "reason", "waits")
    }
    assert result["properties"]["flags"] == {"type": "string"}


def schema(api: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    reference = content["content"]["application/json"]["schema"]["$ref"]
    found: dict[str, Any] = api["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def parameters(entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in entry["parameters"]}


def test_the_document_has_a_querys_parameters_bounds_and_defaults(api: dict[str, Any]) -> None:
    entry = api["paths"]["/node/{hostname}/ship/course"]["get"]
    assert "requestBody" not in entry
    listed = parameters(entry)
    assert listed.keys() == {
        *("hostname", "expires", "max_parallel", "canary", "max_failures"),
        *("Prefer", "Idempotency-Key", "dry_run", "heading", "knots"),
    }
    knots, heading = listed["knots"], listed["heading"]
    assert (knots["in"], knots["required"]) == ("query", False)
    assert {name: knots["schema"][name] for name in ("type", "minimum", "maximum", "default")} == {
        **{"type": "integer", "minimum": 1, "maximum": 40, "default": 8}
    }
    assert (heading["in"], heading["required"]) == ("query", False)
    assert (heading["schema"]["enum"], heading["schema"]["default"]) == (
        ["north", "south"],
        "north",
    )


@pytest.mark.parametrize("method", ["get", "put"])
def test_the_document_has_a_paths_placeholders(api: dict[str, Any], method: str) -> None:
    listed = parameters(api["paths"]["/node/{hostname}/ship/{name}/berth/{berth}"][method])
    for name, kind in (("hostname", "string"), ("name", "string"), ("berth", "integer")):
        assert (listed[name]["in"], listed[name]["required"]) == ("path", True)
        assert listed[name]["schema"]["type"] == kind


def test_the_document_has_no_placeholder_in_the_body(api: dict[str, Any]) -> None:
    body = api["paths"]["/node/{hostname}/ship/{name}/berth/{berth}"]["put"]["requestBody"]
    assert body["required"] is False
    assert schema(api, body)["properties"].keys() == {"guests"}
    assert not schema(api, body).get("required")
    bell = api["paths"]["/node/{hostname}/ship/{name}/bell"]["post"]
    assert bell.get("requestBody", {"required": False})["required"] is False


def test_generated_requests_are_answered_as_documented(
    extended: Cluster, api: dict[str, Any], tmp_path: Path
) -> None:
    # What comes with Towline is asked in tests/system/openapi.
    known = {docker.pull.name, docker.list_containers.name, node.load.name}
    added = {
        path
        for path, _, entry in entries(api)
        if path.startswith("/node/{hostname}") and entry["operationId"] not in known
    }
    assert added
    check_generated(extended, api, tmp_path, added)
