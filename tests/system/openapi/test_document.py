"""The OpenAPI document is valid, and the pull's entry is that of the published page."""

import json
import re
from typing import Any

import jsonschema_rs
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.system.openapi.document import PULL_PATH, content, entries, holds, resolved
from tests.testing.cluster import Cluster

# What the page lists of a result, and of an error; its example has each of these types.
PAGE_RESULT = {
    "hostname": "string",
    "image_id": "string",
    "tag": "string",
    "size": "integer",
    "changed": "boolean",
    "error": "string",
}
PAGE_ERROR = {"error": "string", "details": "string", "code": "integer"}
PAGE_CODES = {"202", "400", "401", "403", "500"}


def test_the_document_is_valid_openapi(api: dict[str, Any]) -> None:
    """References, parameters, names, schemas and their defaults: the validator sees to all."""
    OpenAPIV31SpecValidator(api).validate()


def test_patterns_are_those_of_json_schema(api: dict[str, Any]) -> None:
    for schema in api["components"]["schemas"].values():
        for pattern in re.findall(r'"pattern":\s*("(?:[^"\\]|\\.)*")', json.dumps(schema)):
            jsonschema_rs.validator_for({"pattern": json.loads(pattern)})  # which raises


def test_every_operation_says_in_a_line_what_it_does(api: dict[str, Any]) -> None:
    for path, _, entry in entries(api):
        assert entry["summary"], path


def test_the_document_names_first_where_it_was_read(fleet: Cluster, api: dict[str, Any]) -> None:
    below = fleet.anyone.get("/api/openapi.json").json()
    assert api["servers"] == [{"url": "/"}, {"url": "/api"}]
    assert below["servers"] == [{"url": "/api"}, {"url": "/"}]
    assert below | {"servers": api["servers"]} == api


def test_operations_stand_by_domain_and_each_domain_has_a_text(api: dict[str, Any]) -> None:
    domains = [entry["tags"][0] for _, _, entry in entries(api)]
    assert domains == sorted(domains)
    assert [tag["name"] for tag in api["tags"]] == list(dict.fromkeys(domains))
    assert all(tag["description"].endswith(".") for tag in api["tags"])


def test_what_the_document_shows_of_bodies_and_errors_is_valid(api: dict[str, Any]) -> None:
    examples = [
        (path, holder["content"]["application/json"])
        for path, _, entry in entries(api)
        for holder in (entry.get("requestBody", {}), *entry["responses"].values())
        if "example" in holder.get("content", {}).get("application/json", {})
    ]
    assert {path for path, _ in examples} >= {PULL_PATH, "/registry/{host}"}
    for _, shown in examples:
        holds(api, shown["schema"], shown["example"])


def test_the_pull_is_that_of_the_page(api: dict[str, Any]) -> None:
    entry = api["paths"][PULL_PATH]["post"]
    assert entry["summary"] == "Pull a container image on the target node."
    (hostname,) = (each for each in entry["parameters"] if each["in"] == "path")
    assert (hostname["name"], hostname["required"]) == ("hostname", True)
    assert hostname["schema"] == {"type": "string", "minLength": 1}
    assert not any(each["required"] for each in entry["parameters"] if each["in"] != "path")

    assert entry["requestBody"]["required"] is True
    body = content(api, entry["requestBody"])
    assert body["properties"].keys() >= {"image", "retries", "stall_timeout", "policy", "resolve"}
    assert body["required"] == ["image"]
    assert body["properties"]["image"]["type"] == "string"


def test_the_answer_is_that_of_the_page(api: dict[str, Any]) -> None:
    responses = api["paths"][PULL_PATH]["post"]["responses"]
    assert responses.keys() >= PAGE_CODES
    accepted = content(api, responses["202"])
    assert "results" in accepted["required"]
    assert accepted["properties"]["job_id"].items() >= {"type": "string", "format": "uuid"}.items()
    assert accepted["properties"]["results"]["type"] == "array"
    result = resolved(api, accepted["properties"]["results"]["items"]["$ref"])
    assert result["required"] == ["hostname", "status"]
    types = {name: field["type"] for name, field in result["properties"].items()}
    assert types == PAGE_RESULT | dict.fromkeys(
        ("machine_id", "status", "digest", "reason", "waits"), "string"
    )


def test_every_error_is_that_of_the_page(api: dict[str, Any]) -> None:
    for path, _, entry in entries(api):
        for code, response in entry["responses"].items():
            if code < "400" or (path.startswith("/health/") and code == "503"):
                continue
            body = content(api, response)
            assert {name: field["type"] for name, field in body["properties"].items()} == PAGE_ERROR


def test_what_needs_a_token_says_so_and_nothing_else_does(
    fleet: Cluster, api: dict[str, Any]
) -> None:
    schemes = api["components"]["securitySchemes"]
    assert api["security"] == [{name: []} for name in schemes]
    kinds = {(each["type"], each.get("scheme") or each["name"]) for each in schemes.values()}
    assert kinds == {("http", "bearer"), ("apiKey", "X-API-Key")}
    for path, method, entry in entries(api):
        answer = fleet.anyone.request(method, re.sub("{.*?}", "x", path))
        is_open = entry.get("security") == []
        assert (answer.status_code != 401) is is_open, path
        assert ("401" not in entry["responses"]) is is_open, path
