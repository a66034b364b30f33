"""The OpenAPI 3.1 document, made from the endpoints alone."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from towline.controller.http.middleware import JSON
from towline.controller.http.request import MULTIPART
from towline.endpoint import EVENT_STREAM, AnyEndpoint, Stream
from towline.endpoints.fields import NodeResult
from towline.options import PREFER
from towline.signature import Parameter, Place

REFERENCE = "#/components/schemas/{name}"
TEXT = {"type": "string"}
ETAG = {"description": "What it is by now, for If-Match.", "schema": TEXT}
LOCATION = {"description": "Where it is to be found; a job at /job/{id}.", "schema": TEXT}
APPLIED = {"description": "What of Prefer was followed.", "schema": TEXT}
NO_CONTENT = 204
EVERY = (400, 401, 403, 429, 500)
"""Statuses of errors that all endpoints may answer with, but open ones."""
RESPONSES = {
    400: "Invalid request payload.",
    401: "Unauthorized - API key required",
    403: "Forbidden - Insufficient permissions",
    404: "Not found.",
    409: "It goes against what is there by now; the details say how.",
    412: "It is another by now than If-Match or If-None-Match expects.",
    413: "The body is too large.",
    415: "The body is of a type that is not read here.",
    429: "Too much of the caller's is under way, or its address asks too often.",
    500: "It failed; the details say why, in the engine's or the registry's own words.",
}
SUCCESS = {
    200: "Done.",
    201: "It is made.",
    202: "Accepted: the results so far, and the job's id for the rest.",
    204: "Done, or ended, and there is nothing more to say.",
    503: "It is not, and why.",
}
"""What statuses mean here; of others their names have to do."""


class Error(msgspec.Struct):
    """What went wrong."""

    error: Annotated[str, Meta(description="A description of the error that occurred.")]
    code: Annotated[int, Meta(description="The error code.")]
    details: Annotated[str, Meta(description="Additional details about the error.")] = ""


def document(offered: Sequence[AnyEndpoint], version: str) -> dict[str, Any]:
    """Return the OpenAPI document of these endpoints."""
    places = (Place.PATH, Place.QUERY, Place.HEADER, Place.BODY)
    types: list[Any] = [Error, NodeResult]
    types += [each.signature.struct(place) for each in offered for place in places]
    types += [
        kind
        for each in offered
        for kind in (each.result, each.once_result, each.dry_run)
        if kind is not None
    ]
    schemas, components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    of_type = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    for schema in components.values():
        _without_null(schema)
        _with_patterns_of_json_schema(schema)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in offered:
        taken = {
            place: components.pop(endpoint.signature.struct(place).__name__) for place in places
        }
        answers = (endpoint.result, endpoint.once_result, endpoint.dry_run)
        entry = _Entry(endpoint, taken, *(of_type.get(id(kind)) for kind in answers))
        if entry.body is not None:
            components[entry.body_name] = entry.body
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = entry.described()
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


class _Entry:
    """The description of one endpoint.

    Args:
        taken: the schemas of its parameters, as objects, by where they stand.
        result: that of its answer; None where it has no body.
        once: that of the one answer in place of a stream; None where there is none.
        dry_run: that of what is answered to a dry run; None where there is none.

    Attributes:
        body: the schema of the request's body; None where it takes none.
    """

    def __init__(
        self,
        endpoint: AnyEndpoint,
        taken: dict[Place, dict[str, Any]],
        result: dict[str, Any] | None,
        once: dict[str, Any] | None,
        dry_run: dict[str, Any] | None,
    ) -> None:
        self._endpoint = endpoint
        self._dry_run = dry_run
        self._taken = taken
        self._result = result
        self._once = once
        signature = endpoint.signature
        self.body_name = signature.struct(Place.BODY).__name__
        self.body = None
        if signature.at(Place.BODY) or signature.takes_file:
            self.body = taken[Place.BODY]
            if endpoint.either:
                self.body["oneOf"] = [{"required": list(names)} for names in endpoint.either]
            for part in signature.at(Place.PART):
                self.body["properties"][part.name] = {"type": "string", "format": "binary"}
                if part.required:
                    self.body["required"].append(part.name)

    def described(self) -> dict[str, Any]:
        """Return the operation object, as OpenAPI calls it."""
        endpoint, signature = self._endpoint, self._endpoint.signature
        permission = f"Permission: {endpoint.needs}" if endpoint.needs else ""
        entry: dict[str, Any] = {
            "operationId": endpoint.name,
            "summary": endpoint.summary,
            "description": "\n\n".join(filter(None, [endpoint.description, permission])),
            "tags": [endpoint.domain],
            "parameters": [
                self._parameter(parameter)
                for place in (Place.PATH, Place.QUERY, Place.HEADER)
                for parameter in signature.at(place)
            ],
            "responses": self._successes() | self._failures(),
        }
        if endpoint.open:
            entry["security"] = []
        if self.body is not None:
            kind = MULTIPART if signature.takes_file else JSON
            entry["requestBody"] = {
                "required": signature.needs_body,
                "content": {kind: {"schema": {"$ref": REFERENCE.format(name=self.body_name)}}},
            }
        return entry

    def _parameter(self, parameter: Parameter) -> dict[str, Any]:
        in_header = parameter.place is Place.HEADER
        schema = dict(self._taken[parameter.place]["properties"][parameter.name])
        described: dict[str, Any] = {
            "name": parameter.header.name if in_header else parameter.name,
            "in": parameter.place.value,
            "required": parameter.required,
            "schema": parameter.header.schema if in_header else schema,
        }
        words = schema.pop("description", None)
        if words:
            described["description"] = words
        return described

    def _successes(self) -> dict[str, Any]:
        endpoint = self._endpoint
        headers: dict[str, Any] = {}
        if endpoint.locates:
            headers["Location"] = LOCATION | {"required": True}
        if endpoint.tagged:
            headers["ETag"] = ETAG
        if PREFER in (each.header.name for each in endpoint.signature.at(Place.HEADER)):
            headers["Preference-Applied"] = APPLIED
        responses: dict[str, Any] = {}
        for status in endpoint.success:
            answer: dict[str, Any] = {
                "description": SUCCESS.get(status) or HTTPStatus(status).phrase
            }
            if headers:
                answer["headers"] = headers
            if self._result is not None and status != NO_CONTENT:
                if isinstance(endpoint, Stream):
                    # What a schema says of a stream OpenAPI 3.1 leaves open.
                    answer["content"] = {EVENT_STREAM: {"x-event-data": self._result}}
                else:
                    answer["content"] = {JSON: {"schema": self._result}}
                if self._once is not None:
                    answer["content"][JSON] = {"schema": self._once}
            responses[str(status)] = answer
        if self._dry_run is not None:
            self._foreseen(responses, headers)
        return responses

    def _foreseen(self, responses: dict[str, Any], headers: dict[str, Any]) -> None:
        """Add what is answered to a dry run, which is nowhere to be found afterwards."""
        named = ("Location", "ETag")
        headers = {name: each for name, each in headers.items() if name not in named}
        schema, described = self._dry_run, "What it would do; nothing is made."
        if "200" in responses:
            schema = {"oneOf": [self._result, self._dry_run]}
            described = f"{SUCCESS[200]} To a dry run: what it would do."
            headers |= {"Location": LOCATION} if self._endpoint.locates else {}
            headers |= {"ETag": ETAG} if self._endpoint.tagged else {}
        answer = {"description": described, "content": {JSON: {"schema": schema}}}
        responses["200"] = answer | ({"headers": headers} if headers else {})

    def _failures(self) -> dict[str, Any]:
        endpoint = self._endpoint
        codes = {*endpoint.errors, *(() if endpoint.open else EVERY)}
        if self.body is not None or endpoint.signature.has_body:
            codes |= {413, 415}
        responses: dict[str, Any] = {}
        for code in sorted(codes):
            responses[str(code)] = {
                "description": RESPONSES.get(code) or HTTPStatus(code).phrase,
                "content": {JSON: {"schema": {"$ref": REFERENCE.format(name=Error.__name__)}}},
            }
        if "401" in responses:
            responses["401"]["headers"] = {"WWW-Authenticate": {"required": True, "schema": TEXT}}
        if "429" in responses:
            responses["429"]["headers"] = {"Retry-After": {"required": True, "schema": TEXT}}
        if "500" in responses:
            # Where it is the broker that can't be reached.
            responses["500"]["headers"] = {"Retry-After": {"schema": TEXT}}
            if endpoint.locates:
                responses["500"]["headers"] |= {"Location": LOCATION, "Preference-Applied": APPLIED}
        return responses


def _without_null(schema: dict[str, Any]) -> None:
    """Drop null where it only says that a field may be absent: ours are left out, never null."""
    for name, field in schema.get("properties", {}).items():
        kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
        if len(kinds) < len(field.get("anyOf", [])):
            rest = {k: v for k, v in field.items() if k not in ("anyOf", "default")}
            kind = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
            schema["properties"][name] = kind | rest


def _with_patterns_of_json_schema(schema: Any) -> None:
    """Write the end of a text as JSON Schema's dialect has it: `$`, which is no other there."""
    if isinstance(schema, list):
        for each in schema:
            _with_patterns_of_json_schema(each)
    elif isinstance(schema, dict):
        if isinstance(pattern := schema.get("pattern"), str):
            schema["pattern"] = pattern.replace(r"\Z", "$")
        for each in schema.values():
            _with_patterns_of_json_schema(each)
