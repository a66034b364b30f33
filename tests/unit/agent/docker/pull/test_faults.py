"""What the words of engines, their stores and registries mean."""

import pytest

from towline.agent.docker.errors import EngineRefused, EngineUnreachable, Hopeless, Passing
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.faults import classify
from towline.agent.docker.pull.words import TABLE, Row, Said
from towline.errors import TaskFailed
from towline.wire.reference import Reference

DIGEST = "sha256:34cc0982b11c2721b38afb897503d97d50d8203c83b3ba7f12a05e4ed7ab281d"
HOST = "localhost:5000"
IMAGE = Reference.parse(f"{HOST}/w/i:1.0")
EXAMPLE = Reference.parse("registry.example/app:1.0")
STATUS = "unexpected status from GET request to"

EXAMPLES = [(row, said) for row in TABLE for said in row.said]


def said_by_an_engine(words: str, status: int = 0) -> TaskFailed:
    if words.startswith("cannot connect to"):
        return EngineUnreachable(words)
    return EngineRefused(status, words)


@pytest.mark.parametrize(
    ("row", "said"), EXAMPLES, ids=[f"{row.kind.name} {said.words[-50:]}" for row, said in EXAMPLES]
)
def test_each_example_of_the_table_is_found_in_its_row_and_in_none_before(
    row: Row, said: Said
) -> None:
    fault = classify(said_by_an_engine(said.words), EXAMPLE)
    assert fault.row is row
    assert (fault.kind, fault.reason) == (row.kind, said.words)


@pytest.mark.parametrize("pattern", [pattern for row in TABLE for pattern in row.patterns])
def test_patterns_are_in_lower_case_as_the_words_are_that_they_are_looked_for_in(
    pattern: str,
) -> None:
    # Beside classes of characters, which have capitals (\S).
    assert pattern.replace("\\S", "") == pattern.replace("\\S", "").lower()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        # Of the store, whatever the words are that registries have as well.
        ("failed to register layer: mkdir /v/o/l: permission denied", Kind.UNSTORABLE),
        ("failed to register layer: access denied by policy", Kind.UNKNOWN),
        ("failed to register layer: unauthorized", Kind.UNKNOWN),
        ("lease does not exist: not found", Kind.PASSING),
        (f"apply layer error: parent snapshot {DIGEST}: NotFound", Kind.PASSING),
        ("failed to register layer: layer does not exist", Kind.PASSING),
        (f"failed to extract layer {DIGEST}: forbidden", Kind.UNKNOWN),
        # Of the registry, whatever the words are that stores have as well.
        ("error from registry: write /data: no space left on device", Kind.UNKNOWN),
        ("error from registry: denied\ndenied", Kind.REFUSED),
        # Of neither.
        ("context canceled", Kind.PASSING),
        ("dial tcp 192.0.2.7:443: connect: permission denied", Kind.UNKNOWN),
        ("something that nobody has said before", Kind.UNKNOWN),
        # The storage behind the registry, and the registry or its mirror.
        (f"{STATUS} https://storage.example/b?signature=1: 403 Forbidden", Kind.BETWEEN),
        (f"{STATUS} https://storage.example/b?signature=1: 404 Not Found", Kind.BETWEEN),
        (f"{STATUS} https://storage.example/b?signature=1: 503 Unavailable", Kind.PASSING),
        (f"{STATUS} https://mirror.example/v2/w/i/manifests/1?ns=a: 401 No", Kind.REFUSED),
        (f"{STATUS} http://{HOST}/v2/w/i/blobs/{DIGEST}: 418 Teapot", Kind.REFUSED),
    ],
)
def test_whose_words_they_are_comes_first(words: str, kind: Kind) -> None:
    assert classify(EngineRefused(0, words), IMAGE).kind is kind


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_the_registry_in_words_of_its_own_is_known_by_the_engines_status(
    status: int,
) -> None:
    words = "error from registry: not for you"
    assert classify(EngineRefused(status, words), IMAGE).kind is Kind.REFUSED
    assert classify(EngineRefused(500, words), IMAGE).kind is Kind.UNKNOWN


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
        assert fault.kind is Kind.PASSING, said


def test_an_image_whose_name_is_found_can_still_be_missing() -> None:
    words = "manifest for found:latest not found: manifest unknown"
    assert classify(EngineRefused(404, words), Reference.parse("found")).kind is Kind.MISSING


def test_an_engine_that_is_away_is_back_sometime_and_what_is_hopeless_is_not() -> None:
    away = EngineUnreachable("cannot connect to the Docker Engine: manifest unknown")
    assert classify(away, IMAGE).kind is Kind.PASSING
    hopeless = classify(Hopeless("no room", Kind.UNSTORABLE), IMAGE)
    assert (hopeless.kind, hopeless.attempts) == (Kind.UNSTORABLE, 1)
    assert classify(Passing("manifest unknown"), IMAGE).kind is Kind.PASSING
    assert classify(TaskFailed("stalled: no byte arrived for 5 s"), IMAGE).kind is Kind.PASSING


def test_words_that_nobody_knows_are_alike_but_for_numbers_digests_and_names() -> None:
    def alike(words: str) -> str:
        return classify(EngineRefused(0, words), IMAGE).alike

    first = f'mixing layer "a" {DIGEST} of {HOST}/w/i:1.0 at :4321 (0xc0ffee1) went wrong'
    again = f'mixing layer "b" sha256:{"5" * 64} of {HOST}/w/i:1.0 at :1 (0xdecade) went wrong'
    assert alike(first) == alike(again)
    assert alike(first) != alike(again.replace("wrong", "astray"))


def test_what_mends_it_is_told_with_the_engines_words_once_and_after_them() -> None:
    words = f'Get "https://{HOST}/v2/": http: server gave HTTP response to HTTPS client'
    fault = classify(EngineRefused(0, words), IMAGE)
    assert fault.row is not None
    assert fault.row.mend
    assert fault.told == f"{words} ({fault.row.mend})"
    assert classify(EngineRefused(0, fault.told), IMAGE).told == fault.told
    unknown = "something that nobody has said before"
    assert classify(EngineRefused(0, unknown), IMAGE).told == unknown


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
    fault = classify(EngineRefused(0, said), IMAGE)
    assert fault.retry_after == (None if seconds is None else pytest.approx(seconds))
