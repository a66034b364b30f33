"""The OpenAPI 3.1 document, made from the operations' signatures."""

from __future__ import annotations

from typing import Any

import msgspec

from towline.operation import Operation, Registry

REFERENCE = "#/components/schemas/{name}"
TIME = {"type": "string", "format": "date-time"}
TEXT = {"type": "string"}
STATUS = {
    "type": "string",
    "enum": ["ok", "failed", "skipped", "pending", "running", "cancelled", "expired"],
}

ERROR = {
    "type": "object",
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string", "description": "A description of the error that occurred."},
        "details": {"type": "string", "description": "Additional details about the error."},
        "code": {"type": "integer", "description": "The error code."},
    },
    "examples": [
        {
            "error": "The request's body is not valid.",
            "details": "Object missing required field `image`",
            "code": 400,
        }
    ],
}

RESPONSES = {
    400: "Invalid request payload.",
    401: "Unauthorized - API key required",
    403: "Forbidden - Insufficient permissions",
    404: "Not found.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    500: "It failed; the details say why, in the engine's or the registry's own words.",
}

JOB = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "status": {
            "type": "string",
            "enum": ["submitted", "processing", "completed", "failed", "partial_failure"],
        },
        "created": TIME,
        "updated_at": TIME,
        "expires": TIME,
        "operation": {
            "type": "object",
            "required": ["type", "data"],
            "properties": {"type": TEXT, "data": {"type": "object"}},
        },
        "target": TEXT,
        "caller": TEXT,
        "result": {"type": "object"},
        "changed": {"type": "boolean"},
        "error": TEXT,
        "hostname": TEXT,
        "results": {
            "type": "array",
            "description": "As the request that made the job was answered, and further since.",
            "items": {
                "type": "object",
                "required": ["hostname", "status"],
                "properties": {"hostname": TEXT, "status": STATUS, "error": TEXT},
                "additionalProperties": True,
            },
        },
        "responses": {
            "type": "object",
            "description": "By hostname; by machine id where two nodes share one.",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "hostname": TEXT,
                    "status": STATUS,
                    "data": {"type": "object"},
                    "changed": {"type": "boolean"},
                    "error": TEXT,
                },
            },
        },
        "agent_states": {
            "type": "object",
            "description": "As `responses`.",
            "additionalProperties": {
                "type": "object",
                "properties": {"status": STATUS, "error": TEXT, "duration": TEXT},
            },
        },
        "timeline": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "timestamp": TIME,
                    "event": TEXT,
                    "hostname": TEXT,
                    "message": TEXT,
                    "error": TEXT,
                },
            },
        },
    },
}

AGENTS = {
    "type": "object",
    "required": ["agents", "total"],
    "properties": {
        "total": {"type": "integer"},
        "agents": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["hostname", "status"],
                "properties": {
                    "machine_id": TEXT,
                    "hostname": TEXT,
                    "status": {"type": "string", "enum": ["Ready", "NotReady"]},
                    "state": TEXT,
                    "labels": {"type": "object", "additionalProperties": TEXT},
                    "registered_at": TIME,
                    "started_at": TIME,
                    "last_heard": TIME,
                    "version": TEXT,
                    "architecture": TEXT,
                    "kernel_version": TEXT,
                    "cpu_count": {"type": "integer"},
                    "capabilities": {"type": "array", "items": TEXT},
                    "running": {"type": "integer"},
                    "troubles": {"type": "object", "additionalProperties": TEXT},
                },
            },
        },
    },
}

HEALTH = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": TEXT, "error": TEXT},
}

LOCATION = {"description": "The job: /job/{id}.", "schema": TEXT}
APPLIED = {"Preference-Applied": {"description": "What of Prefer was followed.", "schema": TEXT}}
PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "RFC 7240: wait=N (seconds), or respond-async.",
    "schema": TEXT,
}
HOSTNAME = {
    "name": "hostname",
    "in": "path",
    "required": True,
    "description": (
        "Target agent hostname, reserved routing value (_any, _all), or label selector (key:value)."
    ),
    "schema": {"type": "string", "minLength": 1},
}
EXPIRES = {
    "name": "expires",
    "in": "query",
    "required": False,
    "description": "Within how long a node must begin the job: 30s, 5m, 12h, 7d.",
    "schema": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)?$"},
}


def document(registry: Registry, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of all operations and of the API's own routes."""
    structs = [part for operation in registry for part in (operation.parameters, operation.result)]
    _, components = msgspec.json.schema_components(structs, ref_template=REFERENCE)
    components |= {"Error": ERROR, "Job": JOB, "Agents": AGENTS, "Health": HEALTH}
    for schema in components.values():
        _without_null(schema)
    paths: dict[str, dict[str, Any]] = {}
    for operation in registry:
        parameters = components[operation.parameters.__name__]
        result = components[operation.result.__name__]
        name = operation.parameters.__name__.removesuffix("Parameters")
        components[f"{name}Collection"] = _collection(result)
        entry = _entry(operation, name, parameters)
        if not operation.takes_body:
            del components[operation.parameters.__name__]
        paths.setdefault(operation.route, {})[operation.method.lower()] = entry
    paths |= _own_paths()
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


def _collection(result: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an answer: the job's id and one result a node."""
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
                    "required": ["hostname", "status"],
                    "properties": {
                        "hostname": {"type": "string", "description": "The hostname of the agent."},
                        "status": STATUS,
                        **result["properties"],
                        "error": {
                            "type": "string",
                            "description": "Error message if the agent failed.",
                        },
                    },
                },
            },
        },
    }


def _entry(operation: Operation[..., Any], name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    listed = [HOSTNAME, EXPIRES, PREFER]
    codes = [400, 401, 403, 500]
    entry: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"{operation.description}\n\nPermission: `{operation.permission}`".strip(),
        "tags": [operation.domain],
        "parameters": listed,
    }
    required = parameters.get("required", [])
    for parameter, schema in list(parameters["properties"].items()):
        placed = parameter in operation.placeholders.__struct_fields__
        if operation.takes_body and not placed:
            continue
        listed.append(
            {
                "name": parameter,
                "in": "path" if placed else "query",
                "required": parameter in required,
                "schema": schema,
            }
        )
        if operation.takes_body:
            del parameters["properties"][parameter]
            required.remove(parameter)
    if operation.takes_body:
        entry["requestBody"] = {
            "required": operation.needs_body,
            "content": _json(f"{name}Parameters"),
        }
        codes += [413, 415]
    accepted = {
        "description": "Accepted: the results so far, and the job's id for the rest.",
        "headers": {"Location": LOCATION | {"required": True}, **APPLIED},
        "content": _json(f"{name}Collection"),
    }
    errors = _errors(codes)
    errors["500"]["headers"] = {"Location": LOCATION, **APPLIED}
    entry["responses"] = {str(operation.success): accepted, **errors}
    return entry


def _own_paths() -> dict[str, Any]:
    def get(name: str, summary: str, schema: str, codes: list[int], **more: Any) -> dict[str, Any]:
        ok = {"description": summary, "content": _json(schema)}
        return {
            "get": {
                "operationId": name,
                "summary": summary,
                "responses": {"200": ok, **_errors(codes)},
                **more,
            }
        }

    ready = get("health.ready", "Whether a pull would work.", "Health", [], security=[])
    ready["get"]["responses"]["503"] = {
        "description": "It would not; `error` says why.",
        "content": _json("Health"),
    }
    job_id = {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    }
    job = get(
        "job.get",
        "One job, and what became of it on each node.",
        "Job",
        [400, 401, 403, 404, 500],
        parameters=[job_id, PREFER],
    )
    job["get"]["responses"]["200"]["headers"] = APPLIED
    return {
        "/health": get("health", "Whether the controller is alive.", "Health", [], security=[]),
        "/health/ready": ready,
        "/agent": get("agent.list", "All registered nodes.", "Agents", [401, 403, 500]),
        "/job/{id}": job,
    }


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REFERENCE.format(name=schema)}}}


def _errors(codes: list[int]) -> dict[str, Any]:
    errors: dict[str, Any] = {}
    for code in codes:
        errors[str(code)] = {"description": RESPONSES[code], "content": _json("Error")}
        if code == 401:
            errors["401"]["headers"] = {"WWW-Authenticate": {"required": True, "schema": TEXT}}
    return errors


def _without_null(schema: dict[str, Any]) -> None:
    """Drop null where it only says that a field may be absent: ours are left out, never null."""
    for name, field in schema.get("properties", {}).items():
        kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
        if len(kinds) < len(field.get("anyOf", [])):
            rest = {k: v for k, v in field.items() if k not in ("anyOf", "default")}
            schema["properties"][name] = kinds[0] | rest if len(kinds) == 1 else {"anyOf": kinds}
