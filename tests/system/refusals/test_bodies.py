"""Bodies and queries that are refused."""

import json

import pytest

from tests.system.refusals.requests import DIGEST, IMAGE, PULL_ON_WEB_1, post_raw
from tests.testing.answers import refused
from tests.testing.cluster import Cluster


@pytest.mark.parametrize(
    "reference",
    [
        *("", " ", "/", ":", "@", "nginx:", "nginx@", ":latest", f"@{DIGEST}", "/nginx", "nginx/"),
        *("Nginx", "library/Nginx", "docker.io/Library/nginx", "a//b", "../etc/passwd", "-nginx"),
        *("nginx-", "a__.b", "ng inx", " nginx", "nginx ", "nginx:1.0 ", "nginx:-1", "nginx:.1"),
        *("nginx::1", "nginx:a:b", "nginx:ta/g", "nginx:t\u00e4g", f"nginx:{'t' * 129}"),
        *("nginx@sha256", "nginx@sha256:", "nginx@sha256:abc", f"nginx@{DIGEST}a"),
        *(f"nginx@sha256:{64 * 'g'}", f"nginx@sha256:{64 * 'A'}", f"nginx@{DIGEST}@{DIGEST}"),
        *(f"nginx@{DIGEST}:1.0", f"nginx@md5:{32 * 'a'}", "a" * 256, "a/" * 4000 + "a"),
        *(
            "ng\ninx",
            "nginx\n",
            "ng\x00inx",
            "ng\x1binx",
            "ng\x7finx",
            "ng\u202einx",
            "nginx\u00a0",
        ),
        *("nginx\u00e9", "\u043dginx", "\U0001f433", "http://example.com/nginx", "//nginx"),
        *("https://docker.io/library/nginx:1", "docker://nginx", "host:port/nginx", "host:/nginx"),
        *("user@host/nginx", "host:99999999/a b", "nginx?x=1", "nginx#x", "nginx%20", "$(id)", "*"),
    ],
)
def test_what_is_no_reference_is_refused_and_shown(fleet: Cluster, reference: str) -> None:
    answer = fleet.writer.post(PULL_ON_WEB_1, json={"image": reference})
    said = refused(answer, 400)
    assert "image" in said
    shown = json.dumps(reference[:20])[1:-1].replace("\\u0000", "\\x00")
    plain = reference[:20] if reference.isprintable() and reference.isascii() else ""
    # What stands before an '@' may be a password: see test_secrets.
    assert plain in said or shown in said or ("@" in reference and "***@" in said)
    assert len(answer.content) < 2000
    assert all(character.isprintable() for character in said)


def nested(depth: int) -> bytes:
    return b'{"image": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b" ", "JSON"),
        (b"image=nginx", "JSON"),
        (b"{", "JSON"),
        (b'{"image": "nginx"', "JSON"),
        (b'{"image": "nginx"} {}', "JSON"),
        (b"{'image': 'nginx'}", "JSON"),
        (b'{"image": "nginx",}', "JSON"),
        (b'{"image": NaN}', "JSON"),
        (b'{"image": "ngi\nnx"}', "JSON"),
        (b'\xef\xbb\xbf{"image": "nginx"}', "JSON"),
        ('{"image": "nginx"}'.encode("utf-16"), "UTF-8"),
        (b'{"image": "ngin\xff"}', "UTF-8"),
        (b'{"image": "\\ud800"}', "JSON"),
        (b'"nginx"', "object"),
        (b'["nginx"]', "object"),
        (b"null", "object"),
        (b"1", "object"),
        (b"true", "object"),
        (b"{}", "image"),
        (b'{"image": null}', "image"),
        (b'{"image": 1}', "image"),
        (b'{"image": true}', "image"),
        (b'{"image": ["nginx"]}', "image"),
        (b'{"image": {"name": "nginx"}}', "image"),
        (b'{"Image": "nginx"}', "Image"),
        (b'{"image": "nginx", "tag": "1.0"}', "tag"),
        (b'{"image": "nginx", "image": "nginx"}', "twice"),
        (b'{"image": "nginx", "im\\u0061ge": "nginx"}', "twice"),
        (b'{"image": "nginx", "": 1}', "``"),
        (nested(50), "image"),
        (nested(100_000), "deep"),
        (b"[" * 100_000, "deep"),
        (b'{"a":' * 100_000, "deep"),
        (b'{"image": ' + b"9" * 10_000 + b"}", "body"),
        (b'{"image": 1e999999}', "JSON"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_a_body_that_is_not_the_object_asked_for_is_refused(
    fleet: Cluster, content: bytes, word: str
) -> None:
    answer = fleet.writer.post(
        PULL_ON_WEB_1, content=content, headers={"Content-Type": "application/json"}
    )
    assert word in refused(answer, 400)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "application/xml",
        "application/octet-stream",
    ],
)
def test_a_body_of_another_type_is_refused(fleet: Cluster, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = fleet.writer.post(PULL_ON_WEB_1, content=json.dumps(IMAGE), headers=headers)
    assert "application/json" in refused(answer, 415)


@pytest.mark.parametrize("size", [2**20 + 1, 30_000_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
def test_a_body_that_is_too_large_is_refused(fleet: Cluster, size: int, chunked: bool) -> None:
    head = b'{"image": "'
    content = head + b"a" * (size - len(head) - 2) + b'"}'
    assert len(content) == size
    said = refused(post_raw(fleet, content, chunked=chunked), 413)
    assert str(2**20) in said


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("?image=nginx", "image"),
        ("?wait=5", "wait"),
        ("?expires=", "expires"),
        ("?expires=soon", "expires"),
        ("?expires=-5s", "expires"),
        ("?expires=200h", "shorter"),
        ("?expires=1h&expires=2h", "twice"),
        ("?expires=%ff", "query"),
        ("?" + "&".join(f"a{n}=1" for n in range(1000)), "query"),
    ],
    ids=lambda value: value[:20],
)
def test_a_query_that_is_not_understood_is_refused(fleet: Cluster, query: str, word: str) -> None:
    assert word in refused(fleet.writer.post(PULL_ON_WEB_1 + query, json=IMAGE), 400)
