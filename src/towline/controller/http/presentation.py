"""What makes the OpenAPI document good to read: its order, its domains, requests to copy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from towline.controller.http.app import PREFIXES
from towline.controller.http.middleware import JSON

URL = "$TOWLINE_URL"
TOKEN = '-H "Authorization: Bearer $TOWLINE_TOKEN"'
WEB_1 = "web-01"
"""The node of all examples."""
ERROR = "#/components/schemas/Error"


def presented(document: dict[str, Any], domains: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """Return a document with its paths sorted by domain, and with texts, servers and examples.

    Args:
        document: the paths with their entries, each of which has its domain as the first tag.
        domains: a sentence on each domain.
        prefix: of `PREFIXES`, that below which the document is served.
    """
    paths = document["paths"]
    schemas = document["components"]["schemas"]

    def domain(path: str) -> str:
        return str(next(iter(paths[path].values()))["tags"][0])

    ordered = sorted(paths, key=lambda path: (domain(path), path))
    return document | {
        "servers": [
            {"url": each or "/"} for each in sorted(PREFIXES, key=lambda each: each != prefix)
        ],
        "tags": [
            {"name": name} | ({"description": domains[name]} if name in domains else {})
            for name in dict.fromkeys(domain(path) for path in ordered)
        ],
        "paths": {
            path: {method: _shown(path, method, entry, schemas) for method, entry in each.items()}
            for path, each in ((path, paths[path]) for path in ordered)
        },
    }


def _shown(
    path: str, method: str, entry: dict[str, Any], schemas: Mapping[str, Any]
) -> dict[str, Any]:
    """Return an operation with examples of its request and of its errors."""
    shown = dict(entry)
    sent: list[str] = []
    for kind, request in entry.get("requestBody", {}).get("content", {}).items():
        schema = schemas[request["schema"]["$ref"].rpartition("/")[2]]
        body = _body(schema)
        if kind == JSON:
            with_example = {JSON: request | {"example": body}}
            shown["requestBody"] = entry["requestBody"] | {"content": with_example}
            if body:
                given = shlex.quote(json.dumps(body))
                sent.append(f"-H 'Content-Type: {JSON}' \\\n    -d {given}")
        else:
            sent += [_part(name, value, schema) for name, value in body.items()]
    shown["responses"] = {
        code: _failure(int(code), response) for code, response in entry["responses"].items()
    }
    source = _curl(path, method, entry, sent)
    shown["x-codeSamples"] = [{"lang": "Shell", "label": "curl", "source": source}]
    return shown


def _failure(code: int, response: dict[str, Any]) -> dict[str, Any]:
    """Return a response, with an example of its own if it is an error."""
    content = response.get("content", {}).get(JSON)
    if content is None or content["schema"].get("$ref") != ERROR:
        return response
    example = {"error": response["description"], "code": code}
    return response | {"content": {JSON: content | {"example": example}}}


def _curl(path: str, method: str, entry: dict[str, Any], sent: list[str]) -> str:
    """Return a command that sends the request with all that it must have, and no more.

    Args:
        sent: what of the command says what the body is.
    """
    responses = entry["responses"].values()
    query = []
    for parameter in entry.get("parameters", []):
        if not parameter.get("required"):
            continue
        value = str(_example(parameter["name"], parameter["schema"]))
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", value)
        elif parameter["in"] == "query":
            query.append(f"{parameter['name']}={value}")
    streams = any("text/event-stream" in each.get("content", {}) for each in responses)
    words = ["curl -sN" if streams else "curl -s"]
    if method != "get":
        words.append(f"-X {method.upper()}")
    if entry.get("security") != []:
        words.append(TOKEN)
    address = URL + path + ("?" + "&".join(query) if query else "")
    return " ".join([*words, *sent, f'"{address}"'])


def _part(name: str, value: Any, schema: dict[str, Any]) -> str:
    """Return what of a command sends one part of a form: a file, or a text that is not read as the
    name of one."""
    if schema["properties"][name].get("format") == "binary":
        return f"-F {shlex.quote(f'{name}=@{value}')}"
    return f"--form-string {shlex.quote(f'{name}={value}')}"


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a body with what it must have."""
    required = schema.get("required") or schema.get("oneOf", [{}])[0].get("required", [])
    return {name: _example(name, schema["properties"][name]) for name in required}


def _example(name: str, schema: dict[str, Any]) -> Any:
    """Return the first example of a value, or its name where it has none."""
    if name == "hostname":
        return WEB_1
    for values in ("examples", "enum"):
        if schema.get(values):
            return schema[values][0]
    numbers = schema.get("type") in ("integer", "number")
    return schema.get("default", schema.get("minimum", 1) if numbers else name.upper())
