"""What the engines' words mean: as both kinds of engines say them through a faulty proxy."""

import pytest

from towline.agent.docker.errors import EngineRefused, EngineUnreachable, Hopeless
from towline.agent.docker.pull.faults import Kind, classify
from towline.errors import TaskFailed
from towline.wire.reference import Reference

DIGEST = "sha256:34cc0982b11c2721b38afb897503d97d50d8203c83b3ba7f12a05e4ed7ab281d"
HOST = "localhost:5000"
URL = f"http://{HOST}/v2/w/i"
RESOLVE = f'unknown: failed to resolve reference "{HOST}/w/i:1.0": '
COPY = "unknown: failed to copy: httpReadSeeker: failed open: "
STATUS = "unexpected status from GET request to"
DOWNLOAD = "error pulling image configuration: download failed after attempts=6: "

TRANSIENT = [
    # Engine 20.10
    "read tcp 127.0.0.1:59530->127.0.0.1:38849: read: connection reset by peer",
    "unexpected EOF",
    "received unexpected HTTP status: 500 Internal Server Error",
    f"{DOWNLOAD}received unexpected HTTP status: 503 Service Unavailable",
    'Get "https://nowhere.invalid/v2/": dial tcp: lookup nowhere.invalid on 10.0.0.1:53: '
    "no such host",
    f'Get "http://{HOST}/v2/": dial tcp 127.0.0.1:5000: connect: connection refused',
    f'Get "http://{HOST}/v2/": net/http: request canceled while waiting for connection '
    "(Client.Timeout exceeded while awaiting headers)",
    "the Docker Engine's progress stream ended before the pull was complete",
    # Engine 29
    "failed to copy: read tcp 127.0.0.1:35994->127.0.0.1:38849: read: connection reset by peer",
    f"{RESOLVE}unexpected status from HEAD request to {URL}/manifests/1.0: 502 Bad Gateway",
    f"{COPY}{STATUS} {URL}/blobs/{DIGEST}: 500 Internal Server Error",
    f'failed to resolve reference "{HOST}/w/i:1": failed to do request: Head '
    f'"https://{HOST}/v2/w/i/manifests/1": dial tcp 127.0.0.1:5000: connect: connection refused',
    "error from registry: unknown\nunknown",
    "error from registry: unavailable\nunavailable",
    f'failed commit on ref "layer-{DIGEST}": commit failed: rename /a/ingest/0/data '
    f"/a/blobs/sha256/{DIGEST[7:]}: no such file or directory",
    "context canceled",
    # Nobody's yet
    "something that nobody has said before",
]
CORRUPT = [
    f"filesystem layer verification failed for digest {DIGEST}",
    f'failed commit on ref "layer-{DIGEST}": commit failed: unexpected commit digest {DIGEST}, '
    f"expected {DIGEST}: failed precondition",
]
PERMANENT = [
    # Engine 20.10
    "unauthorized: authentication required",
    "unauthorized",
    "denied: requested access to the resource is denied",
    f"{DOWNLOAD}denied",
    "manifest unknown",
    f"manifest for {HOST}/w/i:1.0 not found: manifest unknown: manifest unknown",
    f"repository {HOST}/w/i not found: name unknown: repository name not known",
    "error pulling image configuration: download failed after attempts=1: unknown blob",
    'error parsing HTTP 403 response body: unexpected end of JSON input: ""',
    f'Head "{URL}/manifests/1.0": no basic auth credentials',
    "no matching manifest for linux/amd64 in the manifest list entries",
    "failed to register layer: Error processing tar file(exit status 1): write /big: "
    "no space left on device",
    # Engine 29
    f"{RESOLVE}unexpected status from HEAD request to {URL}/manifests/1.0: 401 Unauthorized",
    f"{COPY}{STATUS} {URL}/blobs/{DIGEST}: 403 Forbidden",
    "error from registry: denied\ndenied",
    f'failed to resolve reference "{HOST}/w/i:1.0": {HOST}/w/i:1.0: not found',
    f"failed to copy: httpReadSeeker: failed open: could not fetch content descriptor {DIGEST} "
    "(application/vnd.docker.container.image.v1+json) from remote: not found",
    f'failed to resolve reference "{HOST}/w/i:1.0": pull access denied, repository does not exist '
    "or may require authorization: authorization failed: no basic auth credentials",
    "no matching manifest for linux/amd64/v4 in the manifest list entries: no match for platform "
    "in manifest: not found",
    f'failed to copy: write /a/ingest/0/data: no space left on device: "{DIGEST}"',
    # Both, of a registry whose certificate nobody trusts
    f'Get "https://{HOST}/v2/": x509: certificate signed by unknown authority',
]
TOO_MANY_REQUESTS = [
    "toomanyrequests: You have reached your pull rate limit",
    f"{DOWNLOAD}toomanyrequests: Rate exceeded",
    'error parsing HTTP 429 response body: unexpected end of JSON input: ""',
    f"{RESOLVE}unexpected status from HEAD request to {URL}/manifests/1.0: 429 Too Many Requests",
    "error from registry: You have reached your pull rate limit",
]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (words, kind)
        for kind, said in (
            (Kind.TRANSIENT, TRANSIENT),
            (Kind.CORRUPT, CORRUPT),
            (Kind.PERMANENT, PERMANENT),
            (Kind.TOO_MANY_REQUESTS, TOO_MANY_REQUESTS),
        )
        for words in said
    ],
)
def test_words_mean_what_they_were_said_for(words: str, kind: Kind) -> None:
    fault = classify(EngineRefused(0, words), Reference.parse(f"{HOST}/w/i:1.0"))
    assert (fault.kind, fault.reason) == (kind, words)


@pytest.mark.parametrize(
    "path", ["not/found", "denied", "w/unauthorized", "rate/toomanyrequests", "w/429"]
)
@pytest.mark.parametrize("tag", ["1.0", "denied", "429"])
def test_a_name_is_not_mistaken_for_a_fault(path: str, tag: str) -> None:
    name = f"{HOST}/{path}"
    words = [
        f'failed to resolve reference "{name}:{tag}": failed to do request: Head '
        f'"https://{name}/manifests/{tag}": connect: connection refused',
        f"pulling {name}:{tag}: connection reset by peer",
        f"error for {path}:{tag}: {STATUS} http://{name}/manifests/{tag}: 503 Unavailable",
    ]
    for said in words:
        fault = classify(EngineRefused(0, said), Reference.parse(f"{name}:{tag}"))
        assert fault.kind is Kind.TRANSIENT, said


def test_an_image_whose_name_is_found_can_still_be_missing() -> None:
    words = "manifest for found:latest not found: manifest unknown"
    assert classify(EngineRefused(404, words), Reference.parse("found")).kind is Kind.PERMANENT


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Kind.PERMANENT), (404, Kind.PERMANENT), (408, Kind.TRANSIENT), (500, Kind.TRANSIENT)],
)
def test_where_words_say_nothing_the_engines_status_does(status: int, kind: Kind) -> None:
    refused = EngineRefused(status, "no luck")
    assert classify(refused, Reference.parse("nginx")).kind is kind


def test_an_engine_that_is_away_is_back_sometime_and_what_is_hopeless_is_not() -> None:
    reference = Reference.parse("nginx")
    away = EngineUnreachable("cannot connect to the Docker Engine: not found")
    assert classify(away, reference).kind is Kind.TRANSIENT
    assert classify(Hopeless("no room"), reference).kind is Kind.PERMANENT
    assert classify(TaskFailed("stalled: no byte arrived for 5 s"), reference).kind is (
        Kind.TRANSIENT
    )


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("toomanyrequests: retry-after: 317.5µs, allowed: 44000/minute", 317.5e-6),
        ("toomanyrequests: Retry-After: 5s", 5.0),
        ("toomanyrequests: retry-after: 30", 30.0),
        ("toomanyrequests: retry-after: 2m, allowed: 1/minute", 120.0),
        ("toomanyrequests: retry-after: soon", None),
        ("toomanyrequests: You have reached your pull rate limit", None),
    ],
)
def test_how_long_a_registry_wants_to_rest_is_read_where_it_says_so(
    said: str, seconds: float | None
) -> None:
    fault = classify(EngineRefused(0, said), Reference.parse("nginx"))
    assert fault.retry_after == (None if seconds is None else pytest.approx(seconds))
