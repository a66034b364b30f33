"""Answers are compressed for those who accept that, and say so."""

import gzip

import httpx
import pytest

from tests.testing.cluster import Cluster


def sent(fleet: Cluster, path: str, encodings: str) -> tuple[httpx.Headers, bytes]:
    """Return the headers of an answer, and its body as it was sent."""
    headers = {"Accept-Encoding": encodings}
    with fleet.admin.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        return answer.headers, b"".join(answer.iter_raw())


@pytest.mark.parametrize("encodings", ["gzip", "deflate, gzip;q=1.0, br", "gzip;q=0.1"])
@pytest.mark.parametrize("path", ["/openapi.json", "/api/openapi.json"])
def test_a_long_answer_is_compressed_for_those_who_accept_that(
    fleet: Cluster, path: str, encodings: str
) -> None:
    plain_headers, plain = sent(fleet, path, "identity")
    headers, body = sent(fleet, path, encodings)
    assert "Content-Encoding" not in plain_headers
    assert headers["Content-Encoding"] == "gzip"
    for each, length in ((plain_headers, len(plain)), (headers, len(body))):
        assert each["Vary"] == "Accept-Encoding"
        assert each["Content-Type"] == "application/json"
        assert int(each["Content-Length"]) == length
    assert gzip.decompress(body) == plain
    assert len(body) < len(plain) / 3


@pytest.mark.parametrize(
    "encodings", ["gzip;q=0", "gzip; q=0.000, identity", "br, GZIP ;q=0.0", "deflate", "*;q=0"]
)
def test_a_long_answer_is_not_compressed_for_those_who_refuse_that(
    fleet: Cluster, encodings: str
) -> None:
    headers, body = sent(fleet, "/openapi.json", encodings)
    assert "Content-Encoding" not in headers
    assert headers["Vary"] == "Accept-Encoding"
    assert body.startswith(b"{")


def test_a_short_answer_is_sent_as_it_is(fleet: Cluster) -> None:
    headers, body = sent(fleet, "/health", "gzip")
    assert "Content-Encoding" not in headers
    assert body == b'{"status":"ok"}'


@pytest.mark.parametrize("stream", ["events", "progress"])
def test_a_stream_of_events_is_sent_as_it_is(fleet: Cluster, stream: str) -> None:
    made = fleet.admin.get("/node/_all/load")
    headers, body = sent(fleet, f"{made.headers['Location']}/{stream}", "gzip")
    assert headers["Content-Type"].startswith("text/event-stream")
    assert "Content-Encoding" not in headers
    assert b"event: end\n" in body
