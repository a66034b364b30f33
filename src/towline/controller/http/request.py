"""Reading requests: body, query, target, token and preferences, each with a clear refusal."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from starlette.requests import ClientDisconnect, Request

from towline.controller.http.middleware import JSON
from towline.errors import BodyTooLarge, InvalidRequest, UnsupportedMediaType
from towline.operation import Operation
from towline.signature import Place
from towline.units import parse_duration
from towline.wire import rollout
from towline.wire.credential import Credential, InvalidCredential, of_header
from towline.wire.reference import InvalidReference, parse_registry
from towline.wire.target import InvalidTarget, Target, parse_target

LARGEST_BODY = 1024 * 1024
JOB_OPTIONS = ("expires", *rollout.OPTIONS)
LONGEST_KEY = 255
TARGETS = "A target is a hostname, a machine id, _any, _all, or a label: key:value"
RETRY_BODY = 'Send {}, or {"target_hostname": "web-01"}'
LONGEST_REGISTRY_AUTH = 16 * 1024

_TRACE = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{0,200})?")
_UUID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def token(request: Request) -> str | None:
    """Return the token that the request carries, or None."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return request.headers.get("x-api-key")


def wants_json(request: Request) -> bool:
    """Whether what could be a stream is to be one answer: `Accept` names JSON, and no stream."""
    accepted = ",".join(request.headers.getlist("accept")).lower()
    return "application/json" in accepted and "text/event-stream" not in accepted


def job_id(request: Request) -> str:
    """Return the job id that the path names.

    Raises:
        InvalidRequest: it isn't one.
    """
    text: str = request.path_params["id"]
    if not _UUID.fullmatch(text):
        raise InvalidRequest(
            f"{text[:80]!r} is not a job id, which is a UUID.", "GET /job lists the jobs there are"
        )
    return text.lower()


def target(request: Request) -> Target:
    """Return the target that the path names.

    Raises:
        InvalidRequest: it can't name any node.
    """
    try:
        return parse_target(unquote(request.path_params["hostname"]))
    except InvalidTarget as error:
        raise InvalidRequest.because("The target is not valid", error, TARGETS) from error


def query(request: Request) -> dict[str, str]:
    """Return the query's parameters by name.

    Raises:
        InvalidRequest: one stands there twice.
    """
    values: dict[str, str] = {}
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            max_num_fields=100,
            errors="strict",
        )
    except ValueError as error:
        raise InvalidRequest.because("The query string is not valid", error) from error
    for name, value in pairs:
        if name in values:
            raise InvalidRequest(
                f"The query parameter {name[:80]!r} stands there twice.", "Leave one out"
            )
        values[name] = value
    return values


class JobOptions(msgspec.Struct, frozen=True):
    """How a job is to be carried out, whatever it does.

    Attributes:
        expires: seconds within which a node must begin it; None for what is usual.
        waves: how its nodes get their turns; None for all at once.
    """

    expires: float | None = None
    waves: rollout.Waves | None = None


def job_options(values: dict[str, str]) -> JobOptions:
    """Take the options of a job out of a query's parameters.

    Raises:
        InvalidRequest: one is not valid.
    """
    text, expires = values.pop("expires", None), None
    given = {name: values.pop(name) for name in rollout.OPTIONS if name in values}
    if text is not None:
        try:
            expires = parse_duration(text)
        except ValueError as error:
            raise InvalidRequest.because(
                "The job option 'expires' is not valid", error, "Write 30s, 5m, 12h or 7d"
            ) from error
    try:
        return JobOptions(expires, rollout.Waves.of(given))
    except ValueError as error:
        raise InvalidRequest.because(
            "A job option is not valid", error, f"Job options are: {', '.join(JOB_OPTIONS)}"
        ) from error


def traceparent(request: Request) -> str | None:
    """Return the request's `traceparent`, or None where there is none that is valid.

    Source: W3C Trace Context, "traceparent Header": what can't be read is as good as none.
    """
    found = request.headers.get("traceparent", "")
    return found if _TRACE.fullmatch(found) else None


def idempotency_key(request: Request) -> str | None:
    """Return the request's `Idempotency-Key`, or None.

    Raises:
        InvalidRequest: it is empty, too long, or not of printable ASCII.
    """
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    key = keys[0].strip()
    if (
        len(keys) > 1
        or not 0 < len(key) <= LONGEST_KEY
        or not (key.isascii() and key.isprintable())
    ):
        raise InvalidRequest(
            "The Idempotency-Key is not valid: send one, of 1 to "
            f"{LONGEST_KEY} printable ASCII characters.",
            "A UUID, for example",
        )
    return key


def registry_auth(
    request: Request, operation: Operation[..., Any], parameters: dict[str, Any]
) -> Credential | None:
    """Return what the header `X-Registry-Auth` brings for the operation's registry, or None.

    Raises:
        InvalidRequest: it can't be read, or is for another registry; nothing of it is repeated.
    """
    registry = operation.credential_for(parameters)
    given = request.headers.getlist("x-registry-auth")
    if not given or not operation.takes_credential:
        return None
    if registry is None:
        raise InvalidRequest(
            "The header X-Registry-Auth is for no registry: which one it is, only the node's facts "
            "say.",
            "Name the registry without a reference to a fact",
        )
    try:
        if len(given) > 1:
            raise InvalidCredential("it stands there twice")
        if len(given[0]) > LONGEST_REGISTRY_AUTH:
            raise InvalidCredential(f"it is longer than {LONGEST_REGISTRY_AUTH} characters")
        return of_header(given[0], registry)
    except InvalidCredential as error:
        raise InvalidRequest.because(
            "The header X-Registry-Auth is not valid",
            error,
            "Send base64url of JSON, as the Docker Engine API has it: "
            '{"username": "…", "password": "…"} or {"identitytoken": "…"}',
        ) from error


class RetryBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of a request to retry a job."""

    target_hostname: str | None = None


def retry_options(request: Request) -> JobOptions:
    """Return the options that a request to retry names in its query; raises as `job_options`."""
    values = query(request)
    options = job_options(values)
    if values:
        raise InvalidRequest(
            f"The query parameter {next(iter(values))[:80]!r} is unknown.",
            f"Job options are: {', '.join(JOB_OPTIONS)}",
        )
    return options


async def retry_target(request: Request) -> Target | None:
    """Return the target that a request to retry names, or None.

    Raises:
        InvalidRequest, BodyTooLarge, UnsupportedMediaType: with what is wrong and the mend.
    """
    given = await _body(request, RETRY_BODY)
    try:
        body = msgspec.convert(given, RetryBody)
        return None if body.target_hostname is None else parse_target(body.target_hostname)
    except msgspec.ValidationError as error:
        raise InvalidRequest.because(
            "The request's body is not valid", error, RETRY_BODY
        ) from error
    except InvalidTarget as error:
        raise InvalidRequest.because("The target is not valid", error, TARGETS) from error


def registry(request: Request) -> str:
    """Return the registry that the path names.

    Raises:
        InvalidRequest: it can't name one.
    """
    try:
        return parse_registry(unquote(request.path_params["host"]))
    except InvalidReference as error:
        raise InvalidRequest.because("The registry is not valid", error) from error


class CredentialBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of a request to keep a registry's credential."""

    username: str = ""
    password: str = ""
    identity_token: str = ""


async def credential(request: Request) -> Credential:
    """Return the credential that the body brings.

    Raises:
        InvalidRequest, BodyTooLarge, UnsupportedMediaType: with what is wrong and the mend.
    """
    wanted = 'Send {"username": "…", "password": "…"}, or {"identity_token": "…"}'
    given = await _body(request, wanted, required=True)
    try:
        body = msgspec.convert(given, CredentialBody)
    except msgspec.ValidationError as error:
        raise InvalidRequest.because("The request's body is not valid", error, wanted) from error
    if body.password and body.identity_token:
        problem = "it has a password and an identity token"
    elif not (body.password or body.identity_token):
        problem = "it has neither a password nor an identity token"
    elif body.password and not body.username:
        problem = "it has a password, but no user name"
    else:
        return Credential(body.username, body.password, body.identity_token)
    raise InvalidRequest.because("The request's body is no credential", problem, wanted)


async def parameters(
    request: Request, operation: Operation[..., Any], values: dict[str, str]
) -> dict[str, Any]:
    """Return the operation's validated parameters, from path, and body or query, as plain data.

    Raises:
        InvalidRequest, BodyTooLarge, UnsupportedMediaType: with what is wrong and the mend.
    """
    given: dict[str, Any]
    if operation.signature.has_body:
        if values:
            raise InvalidRequest(
                f"The query parameter {next(iter(values))[:80]!r} is unknown.",
                f"Job options are: {', '.join(JOB_OPTIONS)}; "
                "the operation's own parameters stand in the body",
            )
        given = await _body(request, _wanted(operation), required=operation.signature.needs_body)
    else:
        given = dict(values)
    where = "body" if operation.signature.has_body else "query"
    placed = _placed(request, operation)
    for name in placed:
        if name in given:
            raise InvalidRequest(
                f"The parameter {name!r} stands in the path already.",
                f"Leave out that in the {where}",
            )
    try:
        read = operation.read(given | placed, strict=operation.signature.has_body)
    except msgspec.ValidationError as error:
        raise InvalidRequest.because(
            f"The request's {where} is not valid", error, _takes(operation)
        ) from error
    except ValueError as error:
        raise InvalidRequest.because(
            "A parameter is not valid", error, _takes(operation)
        ) from error
    plain: dict[str, Any] = msgspec.to_builtins(read)
    return plain


def _placed(request: Request, operation: Operation[..., Any]) -> dict[str, Any]:
    """Return the parameters that stand in the path, text made into what they are."""
    texts: dict[str, str] = {}
    for name in operation.signature.names(Place.PATH):
        try:
            texts[name] = unquote(request.path_params[name], errors="strict")
        except UnicodeDecodeError as error:
            raise InvalidRequest.because(
                f"The parameter {name!r} in the path is not UTF-8", error
            ) from error
    try:
        return operation.signature.read(Place.PATH, texts, strict=False)
    except ValueError as error:
        raise InvalidRequest.because("A parameter in the path is not valid", error) from error


async def read_body(request: Request) -> bytes:
    """Return the request's body.

    Raises:
        BodyTooLarge: it is over 1 MiB; the rest is not read.
        InvalidRequest: the client hung up amid it; nobody reads that, but the log says so.
    """
    length = request.headers.get("content-length", "")
    received = bytearray()
    if not (length.isdigit() and int(length) > LARGEST_BODY):
        try:
            async for chunk in request.stream():
                received += chunk
                if len(received) > LARGEST_BODY:
                    break
            else:
                return bytes(received)
        except ClientDisconnect as error:
            raise InvalidRequest("The request's body ended early.", "The client hung up") from error
    raise BodyTooLarge(
        f"The request's body is larger than {LARGEST_BODY} bytes.", "It is parameters, not data"
    )


def _unsupported(kind: str) -> UnsupportedMediaType:
    what = "The body has no Content-Type"
    if kind:
        what = f"The body's type {kind[:80]!r} is not read here"
    return UnsupportedMediaType(
        f"{what}: send application/json.", "With the header Content-Type: application/json"
    )


def _has_body(request: Request) -> bool:
    length = request.headers.get("content-length", "0")
    return length.strip("0") != "" or "transfer-encoding" in request.headers


async def _body(request: Request, wanted: str, *, required: bool = False) -> dict[str, Any]:
    """Return the body, a JSON object; `wanted` says in a refusal what to send."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", JSON) and _has_body(request):
        raise _unsupported(kind)
    text = await read_body(request)
    if not text and not required:
        return {}
    if kind != JSON:
        raise _unsupported(kind)
    if not text:
        raise InvalidRequest("The request's body is empty.", wanted)
    try:
        value = json.loads(text.decode(), object_pairs_hook=_once)
        # The standard library reads NaN and lone surrogates, which are no JSON.
        msgspec.json.decode(text)
    except RecursionError as error:
        raise InvalidRequest(
            "The request's body is nested too deeply.", "It is one flat JSON object"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidRequest.because("The request's body is not UTF-8", error) from error
    except (ValueError, msgspec.DecodeError) as error:  # also integers of thousands of digits
        raise InvalidRequest.because(
            "The request's body is not valid JSON", error, wanted
        ) from error
    if not isinstance(value, dict):
        raise InvalidRequest("The request's body is not a JSON object.", wanted)
    return value


def _wanted(operation: Operation[..., Any]) -> str:
    return f"Send a JSON object with the parameters of {operation.label}: {_names(operation)}"


def _takes(operation: Operation[..., Any]) -> str:
    return f"{operation.label} takes: {_names(operation)}"


def _names(operation: Operation[..., Any]) -> str:
    placed = operation.signature.names(Place.PATH)
    names = [name for name in operation.parameters.__struct_fields__ if name not in placed]
    return ", ".join(names) or "-"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(
            f"The request's body has the field {double[:80]!r} twice.", "Leave one out"
        )
    return values
