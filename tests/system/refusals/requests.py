"""The good request of which the refused ones are variants, and bytes that no client would send."""

import contextlib
import socket

import httpx

from tests.testing.cluster import PULL, WEB_1, Cluster

IMAGE = {"image": "localhost:5000/demo/hello:1.0"}
PULL_ON_WEB_1 = f"/node/{WEB_1}/{PULL}"
DIGEST = "sha256:" + 64 * "a"


def post_raw(fleet: Cluster, content: bytes, *, chunked: bool) -> httpx.Response:
    """Send as much of a body as the server takes, and read its answer whatever became of it."""
    token = fleet.token("write")
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(content)}"
    head = (
        f"POST {PULL_ON_WEB_1} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\n{length}\r\n\r\n"
    )
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) if chunked else content
    return raw(fleet, head.encode() + body)


def raw(fleet: Cluster, sent: bytes) -> httpx.Response:
    """Send bytes, and return the answer, for what no HTTP client would send."""
    url = httpx.URL(fleet.url)
    received = b""
    with socket.create_connection((url.host, url.port or 0), timeout=20) as connection:
        # The server may have answered and hung up: what it said can still be read.
        with contextlib.suppress(OSError):
            connection.sendall(sent)
        while b"\r\n\r\n" not in received:
            piece = connection.recv(65536)
            assert piece, f"no answer, but {received!r}"
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        while len(body) < int(headers.get("content-length", 0)):
            piece = connection.recv(65536)
            assert piece, f"half an answer: {received!r}"
            body += piece
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)
