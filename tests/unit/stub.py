"""A stand-in for a controller: it gives written answers, and keeps what it is asked."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Answer:
    """What one route answers; a `body` that is no text becomes JSON.

    With a `length` that is not the body's the answer breaks off.
    """

    body: Any
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None

    @property
    def content(self) -> bytes:
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass
class Asked:
    """A request that has arrived; its headers' names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: Any


def events(*sent: tuple[str, dict[str, Any]]) -> Answer:
    """Return a stream of server-sent events: each a kind and its data."""
    lines = [
        f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
        for number, (kind, data) in enumerate(sent, 1)
    ]
    return Answer("".join(lines), content_type="text/event-stream")


class StubController:
    """An HTTP server with fixed answers.

    Attributes:
        answers: by method and path, `GET /agent`; `default` for every other. Of several the last
            one stays.
        asked: the requests so far.
    """

    def __init__(self, answers: dict[str, Answer | list[Answer]] | None = None) -> None:
        self.answers = answers or {}
        self.default = Answer({"error": "nothing here", "details": "", "code": 404}, 404)
        self.asked: list[Asked] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                path, _, query = self.path.partition("?")
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, path, query, headers, body)
                stub.asked.append(asked)
                found = stub.answers.get(f"{self.command} {path}", stub.default)
                if isinstance(found, list):
                    found = found.pop(0) if len(found) > 1 else found[0]
                self.send_response(found.status)
                self.send_header("Content-Type", found.content_type)
                length = len(found.content) if found.length is None else found.length
                self.send_header("Content-Length", str(length))
                for name, value in found.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(found.content)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing of clients that wait no longer: tests read the same stream."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
