"""A controller that is asked to end while requests and streams are under way."""

import json
import signal
import socket
from urllib.parse import urlsplit

from tests.testing.answers import error_body
from tests.testing.cluster import FRAIL, Cluster
from tests.testing.marks import ONE_KIND
from tests.testing.process import wait_until
from tests.testing.proxy import FaultyProxy, Freeze
from tests.testing.registry import PushedImage


def begun(cluster: Cluster, line: str, more: str = "\r\n") -> socket.socket:
    """Send a request, and return its connection."""
    address = urlsplit(cluster.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=60)
    authorization = cluster.admin.headers["authorization"]
    head = f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
    connection.sendall((head + more).encode())
    return connection


def rest(connection: socket.socket) -> tuple[int, bytes]:
    """Receive what a connection brings until its end; return the status and the body."""
    received = b""
    with connection:
        while piece := connection.recv(100_000):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@ONE_KIND
def test_what_is_under_way_ends_in_order(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    proxy.fault = Freeze(match="images/create")
    job = frail.pull(FRAIL, image.reference, prefer="respond-async").json()["job_id"]
    wait_until(lambda: frail.job(job, wait=0)["status"] == "processing", what="the pull")
    paths = (f"/job/{job}/events", f"/job/{job}/progress", "/event")
    streams = [begun(frail, f"GET {path}") for path in paths]
    waiting = begun(frail, f"GET /job/{job}", "Prefer: wait=50\r\n\r\n")
    half = "Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    sending = begun(frail, f"POST /node/{FRAIL}/container/docker/pull", half)
    # It has read all of them when it answers what came later.
    for _ in range(2):
        begun(frail, "GET /health").recv(1000)

    frail.controller.signal(signal.SIGTERM)
    assert frail.controller.wait() == 0
    # Who waits for a job is answered with what is known of it, and a stream ends like any other.
    status, body = rest(waiting)
    assert (status, json.loads(body)["status"]) == (200, "processing")
    for stream in streams:
        status, body = rest(stream)
        assert (status, body[-5:]) == (200, b"0\r\n\r\n")
    status, body = rest(sending)
    assert status == 503
    assert "stopped" in error_body(body, 503)
    assert "Traceback" not in frail.controller.stderr

    proxy.fault = None
    frail.controller.start()
    frail.controller.wait_for_output("answers at")
    assert frail.ended(job)["status"] == "completed"
