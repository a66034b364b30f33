"""Targets that mean no node."""

import json
from urllib.parse import quote

import pytest

from tests.system.refusals.requests import IMAGE, raw
from tests.testing.answers import refused
from tests.testing.cluster import PULL, Cluster


@pytest.mark.parametrize(
    "target",
    [
        *("nobody", "web-1", "WEB-01x", "web-01.example.org", "group:nobody", "group:webs"),
        *("group:web.dev.us", "other:web", "group:web.dev.eu.west", "group:eu", "group:we"),
        *(
            ">",
            "*",
            "...",
            "web.*",
            "web.>",
            "other:*",
            "group:>",
            "group:eu.*",
            "group:web.>",
        ),
        *("$JS.API", "$SYS.>", "job.all", "web-01.", ".web-01", "web..01", "group:web..dev"),
        *("group:", ":web", ":", "group:web:dev", "group=web", "group:.web", "group:web.", "_"),
        *("_none", "_ANY", "_all_", "_any ", " web-01", "web-01 ", "web 01", "web/01", "../web-01"),
        *("web-01/", "/web-01", "web-01?x", "web-01#x", "web-01\\x", "web-01,web-02"),
        *("web-01\n", "web\x0001", "web\r\nX: y", "web\u00e9", "\u202eweb", "\U0001f433", "%77eb"),
        *("a" * 64 + ".b", "a" * 254, "a" * 5000, "group:" + "a" * 5000, "a." * 2500 + "a"),
        "group:" + "a." * 40 + "a",
    ],
    ids=lambda target: repr(target[:30]),
)
def test_a_target_that_means_no_node_is_refused(fleet: Cluster, target: str) -> None:
    answer = fleet.writer.post(f"/node/{quote(target, safe='')}/{PULL}", json=IMAGE)
    said = refused(answer, 400)
    assert len(answer.content) < 2000
    if target.isascii() and target.isprintable():
        assert target[:20] in said or repr(target[:20])[1:-1] in said


@pytest.mark.parametrize(
    "target", [">", "*", ".", "..", "%2e%2e", "wbe*", "group:web.>", "%ff", "%", "%zz", "%00"]
)
def test_a_target_is_refused_however_it_is_written(fleet: Cluster, target: str) -> None:
    body = json.dumps(IMAGE)
    token = fleet.token("write")
    sent = (
        f"POST /node/{target}/{PULL} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    refused(raw(fleet, sent.encode()), 400)


@pytest.mark.parametrize("path", ["", "/", "web-01/../web-01", "web-01/x", "//"])
def test_a_target_of_no_or_several_segments_is_no_route(fleet: Cluster, path: str) -> None:
    body = json.dumps(IMAGE)
    token = fleet.token("write")
    sent = (
        f"POST /node/{path}/{PULL} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    answer = raw(fleet, sent.encode())
    assert answer.status_code in (400, 404)
    refused(answer, answer.status_code)
