"""Routes that are not there, other methods, and what is no HTTP."""

import pytest

from tests.system.refusals.requests import PULL_ON_WEB_1, raw
from tests.testing.answers import refused
from tests.testing.cluster import PULL, Cluster


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/",
            "/nothing",
            "/node",
            "/node/web-01",
            "/node/web-01/nothing",
            "/api",
            "/api/api/health",
        ),
        *("/job/", "/health/", "/agent/web-01/x", "/%00", "/%ff", "/a" * 4000, "//health"),
        f"/node/web-01/{PULL}/",
        "/job/550e8400-e29b-41d4-a716-446655440000",
    ],
    ids=lambda path: path[:30],
)
def test_what_is_not_there_is_404(fleet: Cluster, path: str) -> None:
    answer = fleet.admin.get(fleet.url + path)
    refused(answer, 404)
    assert len(answer.content) < 2000


@pytest.mark.parametrize("job_id", ["x", "1", "550e8400e29b41d4a716446655440000", "a" * 5000, "*"])
def test_what_is_no_job_id_is_refused(fleet: Cluster, job_id: str) -> None:
    assert "job id" in refused(fleet.admin.get(f"/job/{job_id}"), 400)


@pytest.mark.parametrize(
    "method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]
)
def test_another_method_is_405_and_those_there_are_are_named(fleet: Cluster, method: str) -> None:
    answer = fleet.writer.request(method, PULL_ON_WEB_1)
    assert "POST" in refused(answer, 405)
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize("path", ["/health", "/openapi.json", "/docs", "/job", "/agent/web-01"])
def test_head_is_answered_as_get_is_without_the_content(fleet: Cluster, path: str) -> None:
    got, head = fleet.admin.get(path), fleet.admin.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "content-encoding", "etag"):
        assert head.headers.get(name) == got.headers.get(name), name
    assert fleet.admin.post("/openapi.json").headers["Allow"] == "GET, HEAD"
    assert fleet.anyone.head("/job").status_code == 401


def test_head_of_a_stream_is_its_head_alone(fleet: Cluster) -> None:
    head = fleet.admin.head("/event")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"].startswith("text/event-stream")
    assert "Content-Length" not in head.headers


def test_head_is_405_without_a_body(fleet: Cluster) -> None:
    answer = fleet.writer.head(PULL_ON_WEB_1)
    assert answer.status_code == 405
    assert answer.content == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\nhello\r\n\r\n",
        b"hello towline, how are you?\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /health SMTP/1.1\r\nHost: x\r\n\r\n",
        b"GET\r\n\r\n",
        b"WRONG /health HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET /health HTTP/1.1\r\nna me: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"POST /health HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /health HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /health HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /health HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /health HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET http://[::1/health HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_with_the_error_body(fleet: Cluster, sent: bytes) -> None:
    refused(raw(fleet, sent), 400)


def test_a_broken_chunk_is_answered_with_the_error_body(fleet: Cluster) -> None:
    sent = (
        f"POST {PULL_ON_WEB_1} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        f"{fleet.token('write')}\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    )
    refused(raw(fleet, sent.encode()), 400)
