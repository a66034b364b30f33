"""The schemas of what the API has of its own: jobs, nodes, events, errors."""

from __future__ import annotations

from typing import Any

REFERENCE = "#/components/schemas/{name}"
TIME = {"type": "string", "format": "date-time"}
TEXT = {"type": "string"}
ANYTHING = {"description": "What the operation returned: any JSON, as a rule an object."}
STATUS = {
    "type": "string",
    "enum": ["ok", "failed", "skipped", "pending", "running", "cancelled", "expired"],
}

JOB_STATUS = {
    "type": "string",
    "enum": ["submitted", "processing", "completed", "failed", "partial_failure"],
}
MOMENT = {
    "type": "object",
    "required": ["timestamp", "event"],
    "properties": {
        "timestamp": TIME,
        "event": TEXT,
        "hostname": TEXT,
        "message": TEXT,
        "reason": TEXT,
        "error": TEXT,
    },
}
FAILURE = {"type": "string", "description": "Error message if the agent failed."}
REASON = {
    "type": "string",
    "description": "Why the node has not ended, or was skipped or cancelled, or has expired.",
}
MACHINE_ID = {
    "type": "string",
    "description": "The machine id of the agent. It tells two nodes of the same hostname apart.",
}
WAITS = {
    "type": "string",
    "enum": ["max_parallel", "canary", "paused", "max_pulls", "registry"],
    "description": "What a node that is here waits for: its turn in the job, while it is pending, "
    "or, while it is running, other pulls on it (max_pulls) or a registry that has had too many "
    "requests (registry). The reason says it in words.",
}
SHARE = {"type": "string", "pattern": "^[0-9]+%?$"}
WAVES = {
    "type": "object",
    "description": "How the nodes get their turns, as the request asked for it.",
    "properties": {"max_parallel": SHARE, "canary": SHARE, "max_failures": SHARE},
}
COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}
RESULTS = {
    "type": "array",
    "description": "The results of the request that made the job, and what has come since.",
    "items": {
        "type": "object",
        "required": ["hostname"],
        "properties": {
            "hostname": TEXT,
            "machine_id": MACHINE_ID,
            "status": {
                "type": "string",
                "description": "As in `responses`, unless the operation has a status of its own.",
            },
            "outcome": STATUS | {"description": "The node's, where the operation has a status."},
            "error": FAILURE,
            "reason": REASON,
            "waits": WAITS,
        },
        "additionalProperties": True,
    },
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
    409: "It goes against what is there by now; the details say how.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    500: "It failed; the details say why, in the engine's or the registry's own words.",
}

JOB = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "status": JOB_STATUS,
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
        "result": ANYTHING,
        "changed": {"type": "boolean"},
        "error": TEXT,
        "hostname": TEXT,
        "nodes": COUNTS | {"description": "How many nodes have which status."},
        "retry_of": {"type": "string", "format": "uuid"},
        "waves": WAVES,
        "paused": {
            "type": "object",
            "description": "Present while the job is paused: then no more nodes get their turn.",
            "required": ["by", "since"],
            "properties": {"by": TEXT, "since": TIME},
        },
        "resolved": {
            "type": "object",
            "description": "The digest of the tag when one of several nodes resolved it. All "
            "nodes pull that digest.",
            "required": ["digest", "resolver", "timestamp"],
            "properties": {"digest": TEXT, "resolver": TEXT, "timestamp": TIME},
        },
        "results": RESULTS,
        "responses": {
            "type": "object",
            "description": "By hostname; by machine id where two nodes share one.",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "hostname": TEXT,
                    "status": STATUS,
                    "data": ANYTHING,
                    "changed": {"type": "boolean"},
                    "error": TEXT,
                    "reason": TEXT,
                },
            },
        },
        "agent_states": {
            "type": "object",
            "description": "As `responses`.",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "status": {
                        "type": "string",
                        "enum": ["completed", *STATUS["enum"][1:]],
                    },
                    "error": TEXT,
                    "reason": TEXT,
                    "duration": TEXT,
                },
            },
        },
        "timeline": {"type": "array", "items": MOMENT},
    },
}

JOBS = {
    "type": "object",
    "required": ["total_items", "status_counts", "items"],
    "properties": {
        "total_items": {"type": "integer", "description": "How many jobs the filters leave."},
        "status_counts": COUNTS | {"description": "How many jobs there are in all, by status."},
        "items": {
            "type": "array",
            "description": "The newest first. Of a job for many nodes a list has `nodes` "
            "rather than results and timeline.",
            "items": {"$ref": REFERENCE.format(name="Job")},
        },
        "next_cursor": {
            "type": "string",
            "description": "The `cursor` of the next page; absent where there is none.",
        },
    },
}

CANCELLED = {
    "type": "object",
    "required": ["job_id", "status", "results"],
    "properties": {
        "job_id": {"type": "string", "format": "uuid"},
        "status": JOB_STATUS,
        "results": RESULTS,
    },
}

STEERED = {
    "type": "object",
    "required": ["job_id", "status", "message"],
    "properties": {
        "job_id": {"type": "string", "format": "uuid"},
        "status": JOB_STATUS,
        "message": TEXT,
    },
}

RETRIED = {
    "type": "object",
    "required": ["job_id", "status"],
    "properties": {
        "job_id": {"type": "string", "format": "uuid"},
        "status": {"type": "string", "const": "created"},
        "timestamp": TIME,
    },
}

RETRY = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "target_hostname": {
            "type": "string",
            "description": "Where to run it; otherwise where it failed, expired or was cancelled.",
        },
    },
}

MESSAGE = {"type": "object", "required": ["message"], "properties": {"message": TEXT}}

AGENTS = {
    "type": "object",
    "required": ["agents", "total"],
    "properties": {
        "total": {"type": "integer"},
        "agents": {"type": "array", "items": {"$ref": REFERENCE.format(name="AgentView")}},
    },
}

REGISTRY = {
    "type": "object",
    "required": ["registry", "type", "updated_at", "updated_by", "readable"],
    "properties": {
        "registry": {"type": "string", "description": "As image references name it."},
        "username": TEXT,
        "type": {"type": "string", "enum": ["password", "identity_token"]},
        "updated_at": TIME,
        "updated_by": {"type": "string", "description": "The caller who set it."},
        "readable": {
            "type": "boolean",
            "description": "Whether this controller has the key that locks the credential.",
        },
    },
}

REGISTRIES = {
    "type": "object",
    "required": ["registries", "total"],
    "properties": {
        "total": {"type": "integer"},
        "registries": {"type": "array", "items": {"$ref": REFERENCE.format(name="Registry")}},
    },
}

REGISTRY_CREDENTIAL = {
    "type": "object",
    "description": "A user's name and password, or an identity token.",
    "additionalProperties": False,
    "properties": {
        "username": TEXT,
        "password": {"type": "string", "writeOnly": True},
        "identity_token": {"type": "string", "writeOnly": True},
    },
    "oneOf": [
        {
            "required": ["username", "password"],
            "properties": {
                "username": {"minLength": 1},
                "password": {"minLength": 1},
                "identity_token": {"maxLength": 0},
            },
        },
        {
            "required": ["identity_token"],
            "properties": {"identity_token": {"minLength": 1}, "password": {"maxLength": 0}},
        },
    ],
}

HEALTH = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": TEXT, "error": TEXT},
}

SCHEMAS: dict[str, dict[str, Any]] = {
    "Error": ERROR,
    "Job": JOB,
    "Jobs": JOBS,
    "Cancelled": CANCELLED,
    "Retried": RETRIED,
    "Steered": STEERED,
    "Retry": RETRY,
    "Agents": AGENTS,
    "Message": MESSAGE,
    "Registry": REGISTRY,
    "Registries": REGISTRIES,
    "RegistryCredential": REGISTRY_CREDENTIAL,
    "Health": HEALTH,
}


def content(name: str) -> dict[str, Any]:
    """Return the content of a body that has the schema `name`."""
    return {"application/json": {"schema": {"$ref": REFERENCE.format(name=name)}}}


def errors(codes: list[int]) -> dict[str, Any]:
    """Return the responses for these statuses."""
    responses: dict[str, Any] = {}
    for code in codes:
        responses[str(code)] = {"description": RESPONSES[code], "content": content("Error")}
        if code == 401:
            responses["401"]["headers"] = {"WWW-Authenticate": {"required": True, "schema": TEXT}}
    return responses
