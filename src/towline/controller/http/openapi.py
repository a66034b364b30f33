"""The OpenAPI 3.1 document, made from the operations' signatures."""

from __future__ import annotations

from typing import Any

import msgspec

from towline.controller.http.paths import (
    APPLIED,
    JOB_OPTIONS,
    KEY,
    LOCATION,
    PREFER,
    REGISTRY_AUTH,
    own_paths,
)
from towline.controller.http.schemas import (
    FAILURE,
    MACHINE_ID,
    REASON,
    REFERENCE,
    SCHEMAS,
    STATUS,
    WAITS,
    content,
    errors,
)
from towline.endpoints.health import HealthStatus, Version
from towline.endpoints.nodes import AgentView
from towline.operation import Catalog, Operation
from towline.signature import Place
from towline.wire.progress import JobProgress

HOSTNAME = {
    "name": "hostname",
    "in": "path",
    "required": True,
    "description": (
        "Target agent hostname, reserved routing value (_any, _all), or label selector (key:value)."
    ),
    "schema": {"type": "string", "minLength": 1},
}


def document(catalog: Catalog, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of all operations and of the API's own routes."""
    structs = [part for operation in catalog for part in (operation.parameters, operation.result)]
    structs += [JobProgress, AgentView, HealthStatus, Version]
    _, components = msgspec.json.schema_components(structs, ref_template=REFERENCE)
    components |= SCHEMAS
    for schema in components.values():
        _without_null(schema)
    paths: dict[str, dict[str, Any]] = {}
    for operation in catalog:
        parameters = components[operation.parameters.__name__]
        result = components[operation.result.__name__]
        name = operation.parameters.__name__.removesuffix("Parameters")
        components[f"{name}Collection"] = _collection(result, operation.status)
        entry = _entry(operation, name, parameters)
        if not operation.signature.has_body:
            del components[operation.parameters.__name__]
        paths.setdefault(operation.route, {})[operation.method.lower()] = entry
    paths |= own_paths()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Towline",
            "version": version,
            "description": "Put container images on machines, and run a fleet over one API. "
            "Every route answers under /api too.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}, {"apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _collection(result: dict[str, Any], status: str) -> dict[str, Any]:
    """Return the schema of an answer: the job's id and the results of each node.

    Args:
        status: what a node's status is called there.
    """
    return {
        "type": "object",
        "required": ["job_id", "results"],
        "properties": {
            "job_id": {
                "type": "string",
                "format": "uuid",
                "description": "The job ID used to process this request.",
            },
            "results": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["hostname", status],
                    "properties": {
                        "hostname": {"type": "string", "description": "The hostname of the agent."},
                        "machine_id": MACHINE_ID,
                        status: STATUS,
                        **result["properties"],
                        "error": FAILURE,
                        "reason": REASON,
                        "waits": WAITS,
                    },
                },
            },
        },
    }


def _entry(operation: Operation[..., Any], name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    listed = [HOSTNAME, *JOB_OPTIONS, PREFER, KEY]
    if operation.takes_credential:
        listed.append(REGISTRY_AUTH)
    codes = sorted({400, 401, 403, 409, 500} | operation.errors)
    entry: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"{operation.description}\n\nPermission: `{operation.permission}`".strip(),
        "tags": [operation.domain],
        "parameters": listed,
    }
    required = parameters.get("required", [])
    for parameter, schema in list(parameters["properties"].items()):
        placed = parameter in operation.signature.names(Place.PATH)
        if operation.signature.has_body and not placed:
            continue
        listed.append(
            {
                "name": parameter,
                "in": "path" if placed else "query",
                "required": parameter in required,
                "schema": schema,
            }
        )
        if operation.signature.has_body:
            del parameters["properties"][parameter]
            required.remove(parameter)
    if operation.signature.has_body:
        entry["requestBody"] = {
            "required": operation.signature.needs_body,
            "content": content(f"{name}Parameters"),
        }
        codes += [413, 415]
    accepted = {
        "description": "Accepted: the results so far, and the job's id for the rest.",
        "headers": {"Location": LOCATION | {"required": True}, **APPLIED},
        "content": content(f"{name}Collection"),
    }
    refused = errors(codes)
    refused["500"]["headers"] = {"Location": LOCATION, **APPLIED}
    entry["responses"] = {str(operation.success): accepted, **refused}
    return entry


def _without_null(schema: dict[str, Any]) -> None:
    """Drop null where it only says that a field may be absent: ours are left out, never null."""
    for name, field in schema.get("properties", {}).items():
        kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
        if len(kinds) < len(field.get("anyOf", [])):
            rest = {k: v for k, v in field.items() if k not in ("anyOf", "default")}
            schema["properties"][name] = kinds[0] | rest if len(kinds) == 1 else {"anyOf": kinds}
