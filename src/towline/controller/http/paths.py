"""The OpenAPI entries of the API's own routes: jobs, nodes, events, health."""

from __future__ import annotations

from typing import Any

from towline.controller.http.schemas import JOB_STATUS, TEXT, content, errors

LOCATION = {"description": "The job: /job/{id}.", "schema": TEXT}
APPLIED: dict[str, Any] = {
    "Preference-Applied": {"description": "What of Prefer was followed.", "schema": TEXT}
}
PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "RFC 7240: wait=N (seconds), respond-async, or both.",
    "schema": TEXT,
}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same request means the same job, for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
REGISTRY_AUTH = {
    "name": "X-Registry-Auth",
    "in": "header",
    "required": False,
    "description": "The credential for the image's registry, in place of the one that is kept: "
    "base64url of JSON, as the Docker Engine API has it, with username and password, or "
    "identitytoken.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+=*$"},
}
LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The last event that is known: the stream goes on behind it.",
    "schema": TEXT,
}
JOB_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "format": "uuid"},
}
NODE = {
    "name": "hostname",
    "in": "path",
    "required": True,
    "description": "The node's hostname or machine id.",
    "schema": {"type": "string", "minLength": 1},
}
REGISTRY = {
    "name": "host",
    "in": "path",
    "required": True,
    "description": "The registry, HOST or HOST:PORT, as image references name it.",
    "schema": {"type": "string", "minLength": 1, "examples": ["docker.io", "localhost:5000"]},
}
STREAM: dict[str, Any] = {"text/event-stream": {}}


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": schema,
    }


_SINCE = _query("since", "Made then or later: a time by RFC 3339, or a duration: 2h ago.", TEXT)
FILTERS = [
    _query("operation", "For example docker.pull.", TEXT),
    _query("target", "Jobs for this very target.", TEXT),
    _query("node", "Jobs that this node has a part in, by hostname or machine id.", TEXT),
    _query("caller", "Jobs that this caller made.", TEXT),
    _SINCE,
]
PAGE = [
    _query("status", "Jobs of this status.", JOB_STATUS),
    *FILTERS,
    _query("until", "Made before then, as `since`.", TEXT),
    _query("limit", "", {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}),
    _query("offset", "", {"type": "integer", "minimum": 0, "default": 0}),
    _query("cursor", "`next_cursor` of the page before; not beside an offset.", TEXT),
]


def _entry(
    name: str,
    summary: str,
    permission: str | None,
    success: dict[str, Any],
    codes: list[int],
    *parameters: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "tags": [name.partition(".")[0]],
        "responses": {**success, **errors(codes)},
        **more,
    }
    if permission:
        entry["description"] = f"Permission: {permission}"
    else:
        entry["security"] = []
    if parameters:
        entry["parameters"] = list(parameters)
    return entry


def _ok(description: str, schema: str, code: int = 200, **headers: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": description, "content": content(schema)}
    if headers:
        answer["headers"] = headers
    return {str(code): answer}


EXPIRES = {
    "name": "expires",
    "in": "query",
    "required": False,
    "description": "Within how long a node must begin the job: 30s, 5m, 12h, 7d.",
    "schema": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)?$"},
}
_SEVERAL = "For `_all` and labels."
JOB_OPTIONS = [
    EXPIRES,
    _query(
        "max_parallel",
        f"So many nodes at a time, a number or a percentage of them: 50, 10%. {_SEVERAL}",
        {"type": "string", "pattern": "^[0-9]+%?$"},
    ),
    _query(
        "canary",
        f"So many nodes first, alone: the others wait until these have ended. {_SEVERAL} Unless "
        "`max_failures` is given, none follows once one of these has failed.",
        {"type": "string", "pattern": "^[0-9]+%?$"},
    ),
    _query(
        "max_failures",
        "So many nodes may fail: past it those that wait are cancelled. Only beside "
        "`max_parallel` or `canary`.",
        {"type": "string", "pattern": "^[0-9]+%?$"},
    ),
]
"""How a job is carried out, whatever it does."""


def own_paths() -> dict[str, Any]:
    """Return the entries of all routes that are no operation's."""
    asked = [400, 401, 403, 404, 500]
    steered = [400, 401, 403, 404, 409, 500]
    made = {"Location": LOCATION, **APPLIED}
    return {
        "/health": {
            "get": _entry(
                "health", "Whether the controller is alive.", None, _ok("It is.", "Health"), []
            )
        },
        "/health/ready": {
            "get": _entry(
                "health.ready",
                "Whether a pull would work.",
                None,
                _ok("It would.", "Health") | _ok("It would not, and why.", "Health", 503),
                [],
            )
        },
        "/health/status": {
            "get": _entry(
                "health.status",
                "How the controller is, and all that it works with.",
                "`health:read`",
                _ok("A pull would work.", "HealthStatus")
                | _ok("It would not: `error` says why.", "HealthStatus", 503),
                [401, 403, 500],
            )
        },
        "/version": {
            "get": _entry(
                "version.get",
                "The version of the controller.",
                None,
                _ok("The version.", "Version"),
                [],
            )
        },
        "/agent": {
            "get": _entry(
                "agent.list",
                "All registered nodes.",
                "`agent:read`",
                _ok("The nodes.", "Agents"),
                [401, 403, 500],
            )
        },
        "/agent/{hostname}": {
            "get": _entry(
                "agent.get", "One node.", "`agent:read`", _ok("The node.", "AgentView"), asked, NODE
            )
        },
        "/agent/{hostname}/drain": {
            "post": _entry(
                "agent.drain",
                "Let a node take no more work; what runs there runs to its end.",
                "`agent:write`",
                _ok("It takes no more work.", "Message"),
                steered,
                NODE,
            )
        },
        "/agent/{hostname}/undrain": {
            "post": _entry(
                "agent.undrain",
                "Let a drained node take work again.",
                "`agent:write`",
                _ok("It takes work again.", "Message"),
                steered,
                NODE,
            )
        },
        "/job": {
            "get": _entry(
                "job.list",
                "Jobs, the newest first.",
                "`job:read`",
                _ok("A page of jobs.", "Jobs"),
                [400, 401, 403, 500],
                *PAGE,
            )
        },
        "/job/{id}": {
            "get": _entry(
                "job.get",
                "One job, and what became of it on each node.",
                "`job:read`",
                _ok("The job.", "Job", **APPLIED),
                asked,
                JOB_ID,
                PREFER,
            ),
            "delete": _entry(
                "job.delete",
                "Delete a job that has ended.",
                "`job:write`",
                {"204": {"description": "It is deleted."}},
                asked,
                JOB_ID,
            ),
        },
        "/job/{id}/retry": {
            "post": _entry(
                "job.retry",
                "Do a job again, as another job: where it failed, expired or was cancelled.",
                "`job:write`, and that of the job's operation",
                _ok("The other job is made.", "Retried", 201, **made),
                [*steered, 413, 415],
                *(JOB_ID, *JOB_OPTIONS, PREFER, KEY, REGISTRY_AUTH),
                requestBody={"required": False, "content": content("Retry")},
            )
        },
        "/job/{id}/cancel": {
            "post": _entry(
                "job.cancel",
                "Stop a job wherever it has not ended.",
                "that of the job's operation, or `docker:write`",
                _ok("What has become of each node so far.", "Cancelled", **made),
                steered,
                JOB_ID,
                PREFER,
            )
        },
        "/job/{id}/pause": {
            "post": _entry(
                "job.pause",
                "Let no more nodes of a job have their turn; what runs goes on.",
                "that of the job's operation, or `docker:write`",
                _ok("It is paused.", "Steered"),
                steered,
                JOB_ID,
            )
        },
        "/job/{id}/resume": {
            "post": _entry(
                "job.resume",
                "Let nodes of a paused job have their turn again.",
                "that of the job's operation, or `docker:write`",
                _ok("It goes on.", "Steered"),
                steered,
                JOB_ID,
            )
        },
        "/job/{id}/events": {
            "get": _entry(
                "job.events",
                "The events of a job so far, then as they come, until it ends.",
                "`job:read`",
                {
                    "200": {"description": "Server-sent events.", "content": STREAM},
                    "204": {"description": "It has ended, and all of it is known."},
                },
                asked,
                JOB_ID,
                LAST_EVENT,
            )
        },
        "/registry": {
            "get": _entry(
                "registry.list",
                "The registries for which a credential is kept, without the secrets.",
                "`registry:read`",
                _ok("The registries.", "Registries"),
                [401, 403, 500],
            )
        },
        "/registry/{host}": {
            "get": _entry(
                "registry.get",
                "The credential that is kept for a registry, without the secret.",
                "`registry:read`",
                _ok("It.", "Registry"),
                asked,
                REGISTRY,
            ),
            "put": _entry(
                "registry.put",
                "Keep a credential for a registry, in place of that before: pulls use it.",
                "`registry:write`",
                _ok("It is kept instead of another one.", "Registry")
                | _ok("It is kept.", "Registry", 201),
                [400, 401, 403, 409, 413, 415, 500],
                REGISTRY,
                requestBody={"required": True, "content": content("RegistryCredential")},
            ),
            "delete": _entry(
                "registry.delete",
                "Forget the credential that is kept for a registry.",
                "`registry:write`",
                {"204": {"description": "It is forgotten."}},
                asked,
                REGISTRY,
            ),
        },
        "/job/{id}/progress": {
            "get": _entry(
                "job.progress",
                "How far a job is on each node and in sum, until it ends.",
                "`job:read`",
                {
                    "200": {
                        "description": "Server-sent events: `progress`, and `end`. With `Accept: "
                        "application/json` one answer: how far it is now.",
                        "content": STREAM | content("JobProgress"),
                    },
                    "204": {"description": "It has ended, and its end is known."},
                },
                asked,
                JOB_ID,
                _query("node", "Only this node, by hostname or machine id.", TEXT),
                LAST_EVENT,
            )
        },
        "/event": {
            "get": _entry(
                "event.stream",
                "The events of all jobs, from now on or from a moment on.",
                "`job:read`",
                {"200": {"description": "Server-sent events.", "content": STREAM}},
                [400, 401, 403, 500],
                *FILTERS,
                _query("event", "Kinds of events, separated by commas.", TEXT),
                LAST_EVENT,
            )
        },
    }
