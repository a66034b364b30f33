"""What is refused: over real HTTP, with the error body, and without a job."""

import base64
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest

from tests.testing.answers import error_body, refused
from tests.testing.cluster import PULL, WEB_1, Cluster, NodePlan

IMAGE = {"image": "localhost:5000/demo/hello:1.0"}
PULL_ON_WEB_1 = f"/node/{WEB_1}/{PULL}"
DIGEST = "sha256:" + 64 * "a"


@pytest.fixture(autouse=True)
def no_job_made(fleet: Cluster) -> Iterator[None]:
    """No request of a test makes a job, and the controller answers afterwards."""
    before = fleet.jobs_made()
    yield
    assert fleet.jobs_made() == before
    assert fleet.anyone.get("/health").status_code == 200


# References


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


# Bodies


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


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("?image=nginx", "image"),
        ("?wait=5", "wait"),
        ("?expires=", "expires"),
        ("?expires=soon", "expires"),
        ("?expires=-5s", "expires"),
        ("?expires=1h&expires=2h", "twice"),
        ("?expires=%ff", "query"),
        ("?" + "&".join(f"a{n}=1" for n in range(1000)), "query"),
    ],
    ids=lambda value: value[:20],
)
def test_a_query_that_is_not_understood_is_refused(fleet: Cluster, query: str, word: str) -> None:
    assert word in refused(fleet.writer.post(PULL_ON_WEB_1 + query, json=IMAGE), 400)


# Targets


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
            "group:*",
            "group:>",
            "group:web.*",
            "group:web.>",
        ),
        *("$JS.API", "$SYS.>", "job.all", "web-01.", ".web-01", "web..01", "group:web..dev"),
        *("group:", ":web", ":", "group:web:dev", "group=web", "group:.web", "group:web.", "_"),
        *("_none", "_ANY", "_all_", "_any ", " web-01", "web-01 ", "web 01", "web/01", "../web-01"),
        *("web-01/", "/web-01", "web-01?x", "web-01#x", "web-01;x", "web-01\\x", "web-01,web-02"),
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
    "target", [">", "*", ".", "..", "%2e%2e", "web*", "group:web.>", "%ff", "%", "%zz", "%00"]
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


# Tokens


def signed(
    fleet: Cluster, *, algorithm: str = "HS256", key: bytes | None = None, **claims: Any
) -> str:
    """Return a token that would be good but for what is said."""
    whole = {"sub": "tests", "roles": ["admin"], "exp": int(time.time()) + 3600} | claims
    kept = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(kept, fleet.key if key is None else key, algorithm=algorithm)


def unsigned(fleet: Cluster) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{head}.{signed(fleet).split('.')[1]}."


def edited(fleet: Cluster) -> str:
    head, body, signature = fleet.token("read").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["roles"] = ["admin"]
    text = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{head}.{text}.{signature}"


BAD_TOKENS: dict[str, Callable[[Cluster], str]] = {
    "no token at all": lambda fleet: "towline",
    "two parts": lambda fleet: signed(fleet).rpartition(".")[0],
    "four parts": lambda fleet: signed(fleet) + ".x",
    "unsigned": unsigned,
    "without its signature": lambda fleet: signed(fleet).rpartition(".")[0] + ".",
    "signed by another": lambda fleet: signed(fleet, key=b"k" * 64),
    "signed with HS384": lambda fleet: signed(fleet, algorithm="HS384"),
    "signed with HS512": lambda fleet: signed(fleet, algorithm="HS512"),
    "edited": edited,
    "expired": lambda fleet: signed(fleet, exp=int(time.time()) - 1),
    "expired long ago": lambda fleet: signed(fleet, exp=1),
    "without exp": lambda fleet: signed(fleet, exp=None),
    "without sub": lambda fleet: signed(fleet, sub=None),
    "exp a word": lambda fleet: signed(fleet, exp="never"),
    "exp a list": lambda fleet: signed(fleet, exp=[1]),
    "sub a number": lambda fleet: signed(fleet, sub=7),
    "roles a word": lambda fleet: signed(fleet, roles="admin"),
    "permissions a word": lambda fleet: signed(fleet, permissions="docker:write"),
    "not valid yet": lambda fleet: signed(fleet, nbf=int(time.time()) + 3600),
    "10 kB": lambda fleet: signed(fleet, note="a" * 10_000),
    "10 kB of nothing": lambda fleet: "a" * 10_000,
    "with a space": lambda fleet: signed(fleet).replace(".", " .", 1),
}


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_a_token_that_is_not_ours_and_valid_is_refused(
    fleet: Cluster, kind: str, header: str
) -> None:
    token = BAD_TOKENS[kind](fleet)
    value = f"Bearer {token}" if header == "Authorization" else token
    answer = fleet.anyone.post(PULL_ON_WEB_1, json=IMAGE, headers={header: value})
    said = refused(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "token" in said
    if len(token) > 20:
        assert token[:20] not in said
    if "expired" in kind:
        assert "expired" in said


@pytest.mark.parametrize(
    "header",
    [
        *("X: y", "Authorization:", "Authorization: ", "Authorization: Bearer", "X-API-Key:"),
        *("Authorization: Bearer  ", "authorization: bearer\t", "X-API-Key:  ", "Cookie: token=x"),
        *("Authorization: Basic dGVzdHM6dGVzdHM=", "Authorization: Token x", "X-API-Key: \xff\xfe"),
        "Authorization: Bearer \xff\xfe",
    ],
)
def test_no_token_is_refused(fleet: Cluster, header: str) -> None:
    body = json.dumps(IMAGE)
    sent = (
        f"POST {PULL_ON_WEB_1} HTTP/1.1\r\nHost: x\r\n{header}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    answer = raw(fleet, sent.encode("latin-1"))
    assert "token" in refused(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_who_may_not_call_learns_nothing_of_body_or_target(fleet: Cluster) -> None:
    for path in (PULL_ON_WEB_1, f"/node/nobody/{PULL}"):
        assert "nobody" not in refused(fleet.anyone.post(path, content=b"{"), 401)
        refused(fleet.reader.post(path, content=b"{"), 403)


def test_a_token_without_the_permission_is_refused_by_its_name(fleet: Cluster) -> None:
    assert "docker:write" in refused(fleet.reader.post(PULL_ON_WEB_1, json=IMAGE), 403)


@pytest.mark.parametrize(
    ("roles", "permissions"),
    [([], None), (["nobody"], None), (["admin"], ["docker:read"]), (["write"], ["docker:Write"])],
)
def test_the_permissions_of_a_token_replace_those_of_its_roles(
    fleet: Cluster, roles: list[str], permissions: list[str] | None
) -> None:
    token = signed(fleet, roles=roles, permissions=permissions)
    answer = fleet.anyone.post(
        PULL_ON_WEB_1, json=IMAGE, headers={"Authorization": f"Bearer {token}"}
    )
    assert "docker:write" in refused(answer, 403)


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("/agent", "agent:read"),
        ("/job/550e8400-e29b-41d4-a716-446655440000", "job:read"),
        (f"/node/{WEB_1}/load", "node:read"),
        (f"/node/{WEB_1}/container/docker", "docker:read"),
    ],
)
def test_other_routes_want_a_token_and_their_permission(
    fleet: Cluster, path: str, permission: str
) -> None:
    refused(fleet.anyone.get(path), 401)
    token = fleet.token("admin", permissions=["docker:write"])
    headers = {"Authorization": f"Bearer {token}"}
    assert repr(permission) in refused(fleet.anyone.get(path, headers=headers), 403)


# Routes and methods


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
def test_another_method_is_405_and_told_which_there_are(fleet: Cluster, method: str) -> None:
    answer = fleet.writer.request(method, PULL_ON_WEB_1)
    assert "POST" in refused(answer, 405)
    assert answer.headers["Allow"] == "POST"


def test_head_is_405_without_a_body(fleet: Cluster) -> None:
    answer = fleet.writer.head(PULL_ON_WEB_1)
    assert answer.status_code == 405
    assert answer.content == b""


# What is no HTTP


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


# Where the fault is on this side


def test_without_any_node_a_pull_is_500(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Cluster(tmp_path_factory.mktemp("nobody"), []) as nobody:
        for target in ("web-01", "_any", "_all", "group:web"):
            answer = nobody.pull(target, IMAGE["image"])
            assert "node" in refused(answer, 500)
        assert nobody.jobs_made() == 0
        ready = nobody.anyone.get("/health/ready")
        assert ready.status_code == 503


def test_without_the_broker_a_pull_is_500_and_it_recovers(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Cluster(tmp_path_factory.mktemp("cut-off"), [NodePlan(WEB_1)]) as cluster:
        assert cluster.pull(WEB_1, IMAGE["image"]).json()["results"][0]["status"] == "skipped"
        cluster.broker.stop()
        answer = cluster.pull(WEB_1, IMAGE["image"])
        assert answer.status_code == 500
        assert "broker" in error_body(answer.content, 500)
        assert answer.headers["Location"].startswith("/job/")
        assert cluster.anyone.get("/health").status_code == 200
        assert cluster.anyone.get("/health/ready").status_code == 503

        cluster.broker.start()
        cluster.wait_here(WEB_1)
        answer = cluster.pull(WEB_1, IMAGE["image"])
        assert answer.json()["results"][0]["status"] == "skipped"
