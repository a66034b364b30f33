"""What answers in an engine's place, but not as an engine does: no node ends by it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.testing.cluster import WEB_1, Cluster, NodePlan
from tests.testing.process import wait_until


class Odd(ThreadingHTTPServer):
    """Answers everything with the same bytes and the status 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.content_type = b"{}", "application/json"
        self.requests = 0


class Handler(BaseHTTPRequestHandler):
    server: Odd

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def odd() -> Iterator[Odd]:
    with Odd() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_an_engine_that_answers_anything_else_is_a_trouble_of_the_node_in_words(
    odd: Odd, tmp_path: Path
) -> None:
    url = f"tcp://127.0.0.1:{odd.server_address[1]}"
    with Cluster(tmp_path, [NodePlan(WEB_1, url)]) as cluster:

        def trouble() -> str:
            node = cluster.node(WEB_1) or {}
            return str(node.get("troubles", {}).get("docker", ""))

        def look_again() -> None:
            before = odd.requests
            wait_until(lambda: odd.requests > before + 1, what="another look at the engine")

        for body, content_type in (
            (b"{}", "application/json"),
            (b"[]", "application/json"),
            (b"words", "text/plain"),
            (b"<html></html>", "text/html"),
        ):
            odd.body, odd.content_type = body, content_type
            look_again()
            wait_until(lambda: "can't be read" in trouble(), what="the trouble of the engine")
        assert cluster.agents[WEB_1].running
        assert cluster.reader.get(f"/node/{WEB_1}/load").status_code == 200
        answer = cluster.pull(WEB_1, "nginx", retries=0)
        assert answer.status_code == 500
        assert "can't be read" in answer.json()["details"]
        assert cluster.agents[WEB_1].running
