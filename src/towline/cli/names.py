"""Names that a controller knows, for completing what somebody types: asked for in no time, or kept.

Whoever types waits for the answer, so the question is a small one, asked by a few lines here:
the client's HTTP library takes longer to import than a shell may wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from towline.cli import local, shape
from towline.runtime import config

if TYPE_CHECKING:
    import ssl

LONGEST = 0.15
"""Seconds that a controller has to answer: with all else it stays below what feels instant."""
OTHER_LIMIT = "TOWLINE_COMPLETE_WITHIN"
"""The environment variable that has other seconds, for a controller that is far away."""
FRESH = 10.0
"""Seconds for which an answer is used without asking again: whoever completes does it often."""
KEPT = 3600.0
"""Seconds for which an answer is used where the controller gives no other in time."""
MOST = 1000
"""Names that are asked for; where there are more, the next letter asks again."""
LARGEST = 4 << 20
"""Bytes of an answer that are read."""
OK, REFUSED = 200, (401, 403)
KINDS = ("target", "job", "image", "set")
PREFIX = "names-"
"""What the files begin with in which answers are kept."""

Names = list[tuple[str, str]]
"""Names, each with what is said of it."""


def known(where: Mapping[str, str], kind: str, prefix: str) -> Names:
    """Return the names that begin with a text; none where that is not known in time.

    Args:
        where: where the API is, by what is typed: settings of the connection.
        kind: one of `KINDS`.

    Raises:
        InvalidConfiguration: no controller is named, or there is no token.
    """
    flags = dict(where)
    settings = config.load_connection(flags.pop("config", None), **flags)
    url = local.url(settings) if settings.url is None else settings.url
    place = _place(url, settings.token or f"local {local.directory(settings)}", kind)
    kept = _kept(place, prefix)
    if kept is not None and kept["age"] < FRESH:
        return _pairs(kept)
    answer = _within(
        float(os.environ.get(OTHER_LIMIT) or LONGEST),
        url,
        _path(kind, prefix),
        settings.token or local.token(settings, url),
        local.verifying(settings) if local.encrypted(url) else None,
    )
    if answer is None:
        return [] if kept is None else _pairs(kept)
    status, body = answer
    if status != OK:
        if status in REFUSED:
            shape.forget(place)
        return []
    found = _read(kind, prefix, json.loads(body))
    # As a word of a command it would be an option.
    found["names"] = [each for each in found["names"] if not each[0].startswith("-")]
    found["prefix"] = prefix if found["more"] else ""
    shape.keep(place, found | {"at": time.time()})
    shape.forget_older(KEPT, PREFIX)
    return _pairs(found)


def forget(url: str, token: str | None) -> None:
    """Remove what a controller has answered to a token."""
    for kind in KINDS:
        shape.forget(_place(url, token or "", kind))


def _place(url: str, token: str, kind: str) -> str:
    # What one token may see, another may not.
    mark = hashlib.sha256("\n".join([url, token, kind]).encode()).hexdigest()[:32]
    return f"{PREFIX}{mark}"


def _pairs(found: dict[str, Any]) -> Names:
    return [(name, about) for name, about in found["names"]]


def _path(kind: str, prefix: str) -> str:
    if kind == "job":
        return "/job?limit=50"
    if kind == "image":
        repository = _repository(prefix)
        named = f"&reference={quote(repository)}" if repository else ""
        return f"/image?limit={MOST}{named}"
    if kind == "set":
        return "/set"
    return f"/target?limit={MOST}&prefix={quote(prefix)}"


def _repository(prefix: str) -> str:
    """Return the repository of which a tag is being typed: of one there are fewer images."""
    repository, _, tag = prefix.rpartition(":")
    # In front of a "/" stands a registry's port.
    return "" if "/" in tag else repository


def _read(kind: str, prefix: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Return the names of an answer, and whether there are more."""
    if kind == "job":
        return {"names": [_job(each) for each in answer["items"]], "more": False}
    if kind == "image":
        found = answer["images"]
        pairs = [(name, f"on {each['nodes']}") for each in found for name in each["names"]]
        return {"names": pairs, "more": len(found) < answer["total"] or bool(_repository(prefix))}
    if kind == "set":
        sets = answer["sets"]
        return {"names": [(each["name"], _set(each)) for each in sets], "more": False}
    names = []
    for each in answer["targets"]:
        here, count = each["ready"], each["nodes"]
        about = f"{count} nodes, {here} here" if count > 1 else ("" if here else "not here")
        names.append((each["target"], about))
    return {"names": names, "more": len(names) < answer["total"]}


def _job(job: dict[str, Any]) -> tuple[str, str]:
    operation = job["operation"]
    named = ".".join(operation["type"].split(".")[:2])
    what = operation.get("data", {}).get("image", "")
    return job["id"], " ".join(filter(None, [job["status"], named, what, "on", job["target"]]))


def _set(found: dict[str, Any]) -> str:
    return f"{found['status']}, on {found['target']}"


def _within(
    seconds: float, url: str, path: str, token: str, context: ssl.SSLContext | None
) -> tuple[int, bytes] | None:
    """Return the status and the body of an answer; None where there is none in time.

    Args:
        context: what verifies certificates; None for what is not encrypted.
    """
    answered: list[tuple[int, bytes]] = []

    def ask() -> None:
        # Whatever is wrong, there is no answer.
        with contextlib.suppress(Exception):
            answered.append(_ask(seconds, url, path, token, context))

    # To look up a host's name has no time limit: this thread ends with the process.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return answered[0] if answered else None


def _ask(
    seconds: float, url: str, path: str, token: str, context: ssl.SSLContext | None
) -> tuple[int, bytes]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("no URL of a controller")
    host = parts.hostname or ""
    port = parts.port or (80 if context is None else 443)
    head = [
        f"GET {parts.path.rstrip('/')}{path} HTTP/1.1",
        f"Host: {parts.netloc.rpartition('@')[2]}",
        f"Authorization: Bearer {token.strip()}",
        "Connection: close",
    ]
    connection = socket.create_connection((host, port), seconds)
    if context is not None:
        connection = context.wrap_socket(connection, server_hostname=host)
    with connection:
        connection.sendall("".join(f"{line}\r\n" for line in [*head, ""]).encode("ascii"))
        received = bytearray()
        while len(received) < LARGEST and (more := connection.recv(65536)):
            received += more
    first, _, body = bytes(received).partition(b"\r\n\r\n")
    return int(first.split(b" ", 2)[1]), body


def _kept(place: str, prefix: str) -> dict[str, Any] | None:
    """Return what was answered before, with its age in seconds; None where nothing counts."""
    found = shape.kept(place)
    try:
        age = time.time() - found["at"]
        known = found["prefix"] if found["more"] else ""
    except (KeyError, TypeError):
        return None
    covers = prefix == known if found["more"] else prefix.startswith(known)
    return found | {"age": age} if covers and 0 <= age < KEPT else None
