"""What comes in place of an image: what each engine says of it, and how often it is asked again."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.testing.engine_api import EngineApi
from tests.testing.odd_images import gzipped, push, random_archive
from tests.testing.proxy import Answer, Cut, EndEarly, Fault, FaultyProxy, FlipByte
from tests.testing.registry import Registry, random_layer
from tests.testing.trial import pull
from towline.agent.docker.kind import Kind

CLASSIC, CONTAINERD, PODMAN = "classic", "containerd", "podman"
PAGE = b"<html><head><title>Gateway</title></head><body>No way.</body></html>"

LOGIN = "No login, or a wrong one"
DENIED = "Access denied"
NOT_ACCEPTED = "The request is not accepted"
NO_TAG = "No such tag, digest or repository"
NO_BLOB = "Part of the image is missing"
BUSY = "Too many requests"
FAILS = "The registry fails"
A_PAGE = "A page in place of the registry's answer"
WORDLESS = "An answer without a registry's words"
CHANGED = "Not what its digest says"
BROKEN = "No connection, or a broken one"

LONG = "Podman asks again for minutes by itself: tests/long has it"

REFUSED = "REFUSED"
"""By the engine's status alone: the registry's words are its own."""


def error(code: str, message: str = "no luck") -> bytes:
    """Return an error as registries answer it."""
    return json.dumps({"errors": [{"code": code, "message": message, "detail": {}}]}).encode()


@dataclass(frozen=True)
class Case:
    """An answer to requests for manifests or blobs.

    Attributes:
        titles: the row of the table that the words are in: everywhere, but for the engines that
            `but` names. "" where it is no failure.
    """

    at: str
    status: int
    body: bytes
    titles: str
    but: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def __str__(self) -> str:
        kind = "page" if self.body == PAGE else "words" if self.body else "nothing"
        return f"{self.at} {self.status} {kind}"


def page(at: str, status: int, titles: str, but: dict[str, str] | None = None) -> Case:
    return Case(at, status, PAGE, titles, but or {}, "text/html")


CASES = [
    Case("manifests", 400, error("NAME_INVALID"), NOT_ACCEPTED),
    Case("manifests", 401, error("UNAUTHORIZED", "authentication required"), LOGIN),
    Case("manifests", 401, b"", LOGIN),
    page("manifests", 401, LOGIN),
    Case("manifests", 403, error("DENIED", "access to the resource is denied"), DENIED),
    Case("manifests", 403, error("DENIED"), DENIED, {CONTAINERD: REFUSED}),
    Case("manifests", 403, b"", WORDLESS),
    page("manifests", 403, A_PAGE, {CONTAINERD: WORDLESS}),
    Case("manifests", 404, error("MANIFEST_UNKNOWN"), NO_TAG),
    Case("manifests", 404, error("NAME_UNKNOWN", "repository name not known"), NO_TAG),
    # Engine 29 doesn't look who says so.
    Case("manifests", 404, b"", WORDLESS, {CONTAINERD: NO_TAG}),
    page("manifests", 404, A_PAGE, {CONTAINERD: NO_TAG}),
    Case("manifests", 500, error("UNKNOWN"), FAILS),
    page("manifests", 502, FAILS),
    Case("manifests", 503, b"", FAILS),
    page("manifests", 200, A_PAGE),
    Case("blobs", 401, error("UNAUTHORIZED", "authentication required"), LOGIN),
    Case(
        "blobs",
        403,
        error("DENIED", "access to the resource is denied"),
        DENIED,
        {PODMAN: WORDLESS},
    ),
    Case("blobs", 403, b"", WORDLESS),
    page("blobs", 403, A_PAGE, {CONTAINERD: WORDLESS, PODMAN: WORDLESS}),
    Case("blobs", 404, error("BLOB_UNKNOWN"), NO_BLOB),
    page("blobs", 404, NO_BLOB),
    page("blobs", 200, CHANGED, {CONTAINERD: BROKEN}),
    Case("blobs", 429, b"", BUSY),
]
RATE = error("TOOMANYREQUESTS", "You have reached your pull rate limit")
LIMITED = [Case("manifests", 429, RATE, BUSY), Case("blobs", 429, RATE, BUSY)]


def expected(case: Case, which: str, kind: Kind) -> tuple[int, list[str]]:
    """Return the retries to ask for, and the rows of the attempts that fail then."""
    title = case.but.get(which, case.titles)
    if kind in (Kind.BUSY, Kind.PASSING):
        # Busy registries are left alone, and what passes is tried as often as asked.
        return 0, [title]
    return 4, [title] * (kind.attempts or 0)


KINDS = {
    **dict.fromkeys((LOGIN, DENIED, NOT_ACCEPTED, REFUSED), Kind.REFUSED),
    **dict.fromkeys((NO_TAG, NO_BLOB), Kind.MISSING),
    **dict.fromkeys((A_PAGE, WORDLESS), Kind.BETWEEN),
    **dict.fromkeys((FAILS, BROKEN), Kind.PASSING),
    CHANGED: Kind.DAMAGED,
    BUSY: Kind.BUSY,
}


async def check(
    case: Case, which: str, daemon: EngineApi, registry: Registry, between: FaultyProxy
) -> None:
    name = f"answers/{case}-{which}-{len(case.body)}".replace(" ", "-")
    image = push(registry, name, [gzipped(random_archive(name))])
    between.fault = Answer(
        match=f"/{case.at}/", status=case.status, body=case.body, content_type=case.content_type
    )
    kind = KINDS[case.but.get(which, case.titles)]
    retries, titles = expected(case, which, kind)
    trial = await pull(daemon, f"{between.host}/{image.name}", retries=retries)
    assert trial.told == titles, trial.error
    assert between.served <= 2 * image.size


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_whoever_answers_is_told_as_who_it_is(
    case: Case, which: str, daemon: EngineApi, registry: Registry, between: FaultyProxy
) -> None:
    if which == PODMAN and case.status == 429:
        pytest.skip(LONG)
    await check(case, which, daemon, registry, between)


@pytest.mark.parametrize("case", LIMITED, ids=str)
async def test_a_registry_that_is_busy_is_told_as_that(
    case: Case, which: str, daemon: EngineApi, registry: Registry, between: FaultyProxy
) -> None:
    if which == PODMAN:
        pytest.skip(LONG)
    await check(case, which, daemon, registry, between)


@pytest.fixture(scope="module")
def storage(registry: Registry) -> Iterator[FaultyProxy]:
    """Where the registry sends engines to for layers."""
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("status", "body", "titles"),
    [
        (403, b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", WORDLESS),
        (403, b"", WORDLESS),
        (503, b"<Error><Code>SlowDown</Code></Error>", FAILS),
    ],
    ids=["expired", "without a word", "busy"],
)
async def test_the_storage_behind_a_registry_is_not_told_as_the_registry(
    which: str,
    daemon: EngineApi,
    registry: Registry,
    between: FaultyProxy,
    storage: FaultyProxy,
    status: int,
    body: bytes,
    titles: str,
) -> None:
    name = f"answers/storage-{status}-{len(body)}-{which}"
    image = registry.push_image(name, "1.0", [random_layer(name)])
    place = f"http://127.0.0.1:{storage.port}/storage/1?signature=expired"
    between.fault = Answer(match=image.layer_digests[0], status=307, location=place)
    storage.fault = Answer(match="/storage/", status=status, body=body)
    if which == CLASSIC and body.startswith(b"<?xml"):
        titles = A_PAGE
    retries = 0 if titles == FAILS else 4
    trial = await pull(daemon, f"{between.host}/{name}:1.0", retries=retries)
    assert trial.told == [titles] * (1 if titles == FAILS else 3), trial.error


@pytest.mark.parametrize(
    ("fault", "titles"),
    [
        (Cut(match="/blobs/", after=1000), BROKEN),
        (Cut(match="/manifests/"), BROKEN),
        (EndEarly(match="/blobs/", after=1000), BROKEN),
        (FlipByte(match="/blobs/", after=1000), CHANGED),
    ],
    ids=["cut", "cut at once", "ends early", "a wrong byte"],
)
async def test_what_is_broken_off_passes_and_what_is_changed_is_tried_once_more(
    which: str,
    daemon: EngineApi,
    registry: Registry,
    between: FaultyProxy,
    fault: Fault,
    titles: str,
) -> None:
    if which == CONTAINERD and isinstance(fault, EndEarly):
        pytest.skip("Engine 29 goes on from there by itself, until it has all")
    name = f"answers/{type(fault).__name__.lower()}-{len(fault.match)}-{which}"
    image = push(registry, name, [gzipped(random_archive(name))])
    between.fault = fault
    retries = 0 if titles == BROKEN else 4
    trial = await pull(daemon, f"{between.host}/{image.name}", retries=retries)
    assert trial.told == [titles] * (1 if titles == BROKEN else 2), trial.error


async def test_a_registry_that_wants_a_login_refuses(which: str, daemon: EngineApi) -> None:
    with Registry(authenticated=True) as private:
        image = private.push_image(f"answers/private-{which}", "1.0")
        trial = await pull(daemon, image.reference)
    assert trial.told == [LOGIN], trial.error


@pytest.mark.parametrize(
    ("reference", "titles"),
    [
        ("nowhere.invalid/app:1.0", "A name that is not found"),
        ("localhost:9/app:1.0", BROKEN),
    ],
)
async def test_a_registry_that_is_not_there_may_be_back(
    daemon: EngineApi, reference: str, titles: str
) -> None:
    trial = await pull(daemon, reference, retries=1)
    assert trial.told == [titles] * 2, trial.error


async def test_what_the_registry_does_not_have_is_missing(
    which: str, daemon: EngineApi, registry: Registry
) -> None:
    image = registry.push_image(f"answers/here-{which}", "1.0", [random_layer(f"here {which}")])
    registry.remove_blob(image.layer_digests[0])
    repository = registry.reference(image.repository)
    for name, title in {
        f"{repository}:2.0": NO_TAG,
        f"{repository}@sha256:{'4' * 64}": NO_TAG,
        registry.reference("answers/never", "1.0"): NO_TAG,
        image.reference: NO_BLOB,
    }.items():
        trial = await pull(daemon, name)
        assert trial.told == [title], trial.error
