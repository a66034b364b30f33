"""Reading requests: token, query and body, each with a clear refusal."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from towline.controller.http.middleware import JSON
from towline.errors import BodyTooLarge, InvalidRequest, UnsupportedMediaType
from towline.signature import Upload

LARGEST_BODY = 1024 * 1024
LARGEST_UPLOAD = 64 * 1024 * 1024
MULTIPART = "multipart/form-data"
TRANSPARENT = "latin-1"
"""The charset by which each byte is a character, so that texts can be had as they were sent."""


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


def _unsupported(kind: str, wanted: str = JSON) -> UnsupportedMediaType:
    what = "The body has no Content-Type"
    if kind:
        what = f"The body's type {kind[:80]!r} is not read here"
    return UnsupportedMediaType(
        f"{what}: send {wanted}.", f"With the header Content-Type: {wanted}"
    )


def _has_body(request: Request) -> bool:
    length = request.headers.get("content-length", "0")
    return length.strip("0") != "" or "transfer-encoding" in request.headers


async def body(request: Request, wanted: str, *, required: bool) -> dict[str, Any]:
    """Return the body, a JSON object; an empty one where there is no body, and none is required.

    Args:
        wanted: says in a refusal what to send.

    Raises:
        InvalidRequest, BodyTooLarge, UnsupportedMediaType: with what is wrong and the mend.
    """
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


async def form(
    request: Request, names: Collection[str]
) -> tuple[dict[str, str], dict[str, Upload]]:
    """Return the fields and the files of a body that is `multipart/form-data`, by their names.

    Args:
        names: those of the files.

    Raises:
        InvalidRequest, BodyTooLarge, UnsupportedMediaType: with what is wrong and the mend.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART:
        raise _unsupported(kind, MULTIPART)
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > LARGEST_UPLOAD:
            raise BodyTooLarge(
                f"The request's body is larger than {LARGEST_UPLOAD} bytes.", "Send a smaller file"
            )
        return message

    header = request.headers["content-type"]
    charset = parse_options_header(header)[1].get(b"charset", b"utf-8").decode(TRANSPARENT)
    if charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType(
            f"The body's charset {charset[:80]!r} is not read here: send UTF-8.",
            "Leave the charset out of the Content-Type",
        )
    # The last charset counts. By itself the parser would read as Latin-1 what is not UTF-8.
    parser = _Parser(
        Headers({"Content-Type": f"{header}; charset={TRANSPARENT}"}),
        Request(request.scope, bounded).stream(),
        max_files=len(names),
        max_part_size=LARGEST_BODY,
    )
    fields: dict[str, str] = {}
    files: dict[str, Upload] = {}
    try:
        parts = await parser.parse()
        if not parser.ended:
            raise InvalidRequest(
                "The request's body ends before its last part does.",
                "Send the end of all parts",
            )
        for sent, value in parts.multi_items():
            name = _as_utf8(sent, "name of a part")
            if name in fields or name in files:
                raise InvalidRequest(
                    f"The request's body has the part {name[:80]!r} twice.", "Leave one out"
                )
            if isinstance(value, UploadFile):
                files[name] = Upload(_filename(name, value), await value.read())
            elif name in names:
                raise InvalidRequest(
                    f"The part {name!r} of the request's body is no file.",
                    "Give it a filename in its Content-Disposition",
                )
            else:
                fields[name] = _as_utf8(value, f"part {name[:80]!r}")
    except MultiPartException as error:
        raise InvalidRequest.because("The request's body is not valid", error.message) from error
    except ClientDisconnect as error:
        raise InvalidRequest("The request's body ended early.", "The client hung up") from error
    return fields, files


class _Parser(MultiPartParser):
    """A parser that keeps files in memory, where they are needed whole, and leaves none on a disk.

    Attributes:
        ended: whether the end of all parts has come.
    """

    spool_max_size = LARGEST_UPLOAD
    ended = False

    def on_end(self) -> None:
        """Take note of the end of all parts."""
        self.ended = True


def _as_utf8(text: str, what: str) -> str:
    try:
        return text.encode(TRANSPARENT).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest.because(
            f"The {what} of the request's body is not UTF-8", error
        ) from error


def _filename(name: str, file: UploadFile) -> str:
    """Return a file's name without the directories that some clients send with it (RFC 7578)."""
    sent = _as_utf8(file.filename or "", f"filename of the part {name[:80]!r}")
    found = sent.rpartition("/")[2]
    if found in (".", "..") or not found.isprintable():
        raise InvalidRequest(
            f"The filename {sent[:80]!r} of the request's body can be no file's.", "Send another"
        )
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(
            f"The request's body has the field {double[:80]!r} twice.", "Leave one out"
        )
    return values
