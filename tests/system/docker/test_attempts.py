"""Pulls that are tried again, broken off and gone on with, on both kinds of engine."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.testing.answers import results
from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster
from tests.testing.engine import Engine, EngineKind
from tests.testing.process import wait_until
from tests.testing.proxy import Answer, Cut, FaultyProxy, FlipByte, Freeze
from tests.testing.registry import PushedImage, Registry, random_layer

MB = 1 << 20
LARGE = 24 * MB


@pytest.fixture(scope="module")
def _between(registry: Registry) -> Iterator[FaultyProxy]:
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


@pytest.fixture
def between(_between: FaultyProxy) -> Iterator[FaultyProxy]:
    """What stands between engines and registry; whatever a test does to it ends with the test."""
    _between.count_anew()
    yield _between
    _between.fault = _between.rate = None


@pytest.fixture
def large(registry: Registry, image: PushedImage) -> PushedImage:
    """An image whose second layer takes more than a moment."""
    layers = [random_layer(f"{image.repository} {size}", size) for size in (MB, LARGE)]
    return registry.push_image(image.repository, "large", layers)


@pytest.fixture
def medium(registry: Registry, image: PushedImage) -> PushedImage:
    """An image that takes a moment where the way to it is slow."""
    layers = [random_layer(f"{image.repository} medium", 4 * MB)]
    return registry.push_image(image.repository, "medium", layers)


def through(proxy: FaultyProxy, image: PushedImage) -> str:
    return f"{proxy.host}/{image.reference.partition('/')[2]}"


def attempts(cluster: Cluster, job_id: str) -> list[str]:
    """Return what a job's timeline says of attempts that failed."""
    timeline = cluster.job(job_id, wait=0)["timeline"]
    return [moment["message"] for moment in timeline if moment["event"] == "attempt"]


def begin(cluster: Cluster, node: str, proxy: FaultyProxy, image: PushedImage, **more: Any) -> str:
    """Begin a pull, and return its job's id."""
    answer = cluster.pull(node, through(proxy, image), prefer="respond-async", **more)
    # Where it has failed already the body is an error.
    location: str = answer.headers["Location"]
    return location.removeprefix("/job/")


def test_what_a_cut_costs_is_no_more_than_what_had_arrived(
    cluster: Cluster, engines: Sequence[Engine], between: FaultyProxy, large: PushedImage
) -> None:
    between.rate = 16 * MB
    between.fault = Cut(match=large.layer_digests[1], after=int(0.6 * LARGE), once=True)

    answer = cluster.pull(WEB_1, through(between, large))

    assert results(answer)[WEB_1]["status"] == "ok"
    assert between.fault is None
    failures = attempts(cluster, answer.json()["job_id"])
    finished = f"GET /v2/{large.repository}/blobs/{large.layer_digests[0]}"
    if engines[0].kind is EngineKind.CONTAINERD:
        # It throws away what has arrived, soon after a pull has failed.
        assert ["reset by peer" in words for words in failures] == [True]
        assert between.served <= 1.7 * (MB + LARGE)
    else:
        # Engine 20.10 goes on by itself, for as many times as its own settings say.
        assert failures == []
        assert between.served <= 1.1 * (MB + LARGE)
        assert between.requests.count(finished) == 1


def test_what_a_pull_that_stood_still_had_fetched_is_kept_where_the_engine_does(
    cluster: Cluster, engines: Sequence[Engine], between: FaultyProxy, large: PushedImage
) -> None:
    between.fault = Freeze(match=large.layer_digests[1], after=int(0.6 * LARGE))
    job_id = begin(cluster, WEB_1, between, large, stall_timeout="1s")
    wait_until(lambda: len(attempts(cluster, job_id)) == 1, what="an attempt that failed")
    between.fault = None
    assert cluster.ended(job_id)["status"] == "completed"
    if engines[0].kind is EngineKind.CONTAINERD:
        # A MiB at most of each layer is lost: it is written in pieces of that size.
        assert between.served <= 1.1 * (MB + LARGE)
    else:
        assert between.served <= 1.7 * (MB + LARGE)


def test_a_pull_that_stands_still_is_broken_off_and_tried_again(
    cluster: Cluster, between: FaultyProxy, image: PushedImage
) -> None:
    blob = f"GET /v2/{image.repository}/blobs/{image.layer_digests[0]}"
    between.fault = Freeze(match=image.layer_digests[0])
    job_id = begin(cluster, WEB_1, between, image, stall_timeout="1s")
    wait_until(lambda: len(attempts(cluster, job_id)) == 1, what="an attempt that failed")
    between.fault = None
    assert cluster.ended(job_id)["status"] == "completed"
    (words,) = attempts(cluster, job_id)
    assert words.startswith("attempt 1 of 5 failed: stalled: no byte has arrived for 1 s (")
    assert f'"message":"{words}"' in cluster.admin.get(f"/job/{job_id}/events").text
    assert between.requests.count(blob) == 2


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "UNAUTHORIZED", "the registry refuses"),
        (403, "DENIED", "the registry refuses"),
        (404, "MANIFEST_UNKNOWN", "the registry hasn't it"),
        (500, "UNKNOWN", "passing"),
        (503, "UNAVAILABLE", "passing"),
    ],
)
def test_what_a_registry_answers_decides_what_follows(
    cluster: Cluster,
    between: FaultyProxy,
    image: PushedImage,
    status: int,
    code: str,
    kind: str,
) -> None:
    body = json.dumps({"errors": [{"code": code, "message": "no luck"}]}).encode()
    between.fault = Answer(match="/manifests/", status=status, body=body)
    retries = 0 if kind == "passing" else 4
    job_id = begin(cluster, WEB_1, between, image, retries=retries)
    job = cluster.ended(job_id)
    (result,) = job["results"]
    (words,) = attempts(cluster, job_id)
    assert words == (
        f"attempt 1 of {retries + 1} failed: {result['error']} ({kind}; it is not tried again)"
    )


def test_a_wrong_byte_costs_an_attempt(
    cluster: Cluster, engines: Sequence[Engine], between: FaultyProxy, image: PushedImage
) -> None:
    between.fault = FlipByte(match=image.layer_digests[0], after=100, once=True)
    job_id = begin(cluster, WEB_1, between, image)
    ended = cluster.ended(job_id)
    assert ended["status"] == "completed", [attempts(cluster, job_id), ended["results"]]
    (words,) = attempts(cluster, job_id)
    assert image.layer_digests[0] in words
    assert "(the content is damaged; tried again in " in words


def test_an_engine_that_is_killed_or_restarted_costs_attempts_and_no_pull(
    cluster: Cluster, engines: Sequence[Engine], between: FaultyProxy, medium: PushedImage
) -> None:
    engine = engines[2]
    between.rate = 2 * MB
    job_id = begin(cluster, DB_1, between, medium)

    def goes_on() -> bool:
        return between.served > before + MB // 4

    try:
        before = between.served
        wait_until(goes_on, what="a pull under way")
        engine.kill()
        engine.start()
        before = between.served
        wait_until(goes_on, what="a pull under way again")
        engine.stop()
    finally:
        engine.start()
    between.rate = None
    assert cluster.ended(job_id)["status"] == "completed"
    failures = attempts(cluster, job_id)
    # One each, and one more where the engine has still to end when it is tried again.
    assert len(failures) >= 2
    assert all("(passing; tried again in " in words for words in failures)
    assert engine.image(through(between, medium)) is not None


def test_a_pull_that_is_tried_again_outlives_its_agent(
    cluster: Cluster, between: FaultyProxy, image: PushedImage
) -> None:
    agent = cluster.agents[WEB_2]
    between.fault = Answer(match="/manifests/", status=503)
    job_id = begin(cluster, WEB_2, between, image, retries=20)
    wait_until(lambda: bool(attempts(cluster, job_id)), what="an attempt that failed")
    agent.kill()
    between.fault = None
    agent.start()
    assert cluster.ended(job_id)["status"] == "completed"
    assert attempts(cluster, job_id)[0].startswith("attempt 1 of 21 failed: ")


def test_more_pulls_than_the_nodes_pace_are_queued_and_say_so(
    cluster: Cluster, registry: Registry, between: FaultyProxy, image: PushedImage
) -> None:
    between.fault = Freeze(match="/blobs/")
    images = [
        registry.push_image(f"{image.repository}-{number}", "1.0", [random_layer(f"q{number}")])
        for number in range(4)
    ]

    def asked() -> int:
        return len({line.split("/blobs/")[0] for line in between.requests if "/blobs/" in line})

    # The first three have their places before the fourth comes.
    before = asked()
    ids = [begin(cluster, WEB_1, between, each) for each in images[:3]]
    wait_until(lambda: asked() == before + 3, what="three pulls")
    ids.append(begin(cluster, WEB_1, between, images[3]))

    def waiting() -> dict[str, object]:
        found: dict[str, object] = cluster.job(ids[3], wait=0)["results"][0]
        return found

    wait_until(lambda: "waits" in waiting(), what="a pull that is queued")
    words = "queued: 3 pulls run before it"
    assert waiting() == {
        **{"hostname": WEB_1, "status": "running", "waits": "max_pulls"},
        "machine_id": cluster.machine_id(WEB_1),
        "reason": words,
    }
    between.fault = None
    assert [cluster.ended(job_id)["status"] for job_id in ids] == ["completed"] * 4
    timeline = cluster.job(ids[3])["timeline"]
    kinds = [moment["event"] for moment in timeline]
    assert kinds.index("queued") < kinds.index("dequeued") < kinds.index("completed")
    assert [moment["reason"] for moment in timeline if moment["event"] == "queued"] == [words]


def resolving(proxy: FaultyProxy, image: PushedImage) -> Callable[[], bool]:
    proxy.fault = Freeze(match="/manifests/")
    return lambda: any(f"/{image.repository}/manifests/" in line for line in proxy.requests)


def fetching(proxy: FaultyProxy, image: PushedImage) -> Callable[[], bool]:
    proxy.rate = MB
    return lambda: proxy.served > MB // 4


def pausing(proxy: FaultyProxy, image: PushedImage) -> Callable[[], bool]:
    proxy.fault = Cut(match="/manifests/")
    return lambda: sum(f"/{image.repository}/manifests/" in line for line in proxy.requests) >= 2


@pytest.mark.parametrize("phase", [resolving, fetching, pausing], ids=lambda phase: phase.__name__)
def test_a_pull_that_is_cancelled_leaves_nothing_running_at_the_engine(
    cluster: Cluster,
    engines: Sequence[Engine],
    between: FaultyProxy,
    medium: PushedImage,
    phase: Callable[[FaultyProxy, PushedImage], Callable[[], bool]],
) -> None:
    reached = phase(between, medium)
    job_id = begin(cluster, WEB_1, between, medium, retries=20)
    wait_until(reached, what=phase.__name__)
    answer = cluster.writer.post(f"/job/{job_id}/cancel")
    assert [result["status"] for result in answer.json()["results"]] == ["cancelled"]
    # Whatever went on would be seen to: it takes seconds, and brings the image.
    between.rate, between.fault = MB, None
    # Engine 20.10 reads a manifest to its end, and asks for layers before it sees that it was left.
    # What another job asks of it comes behind that.
    assert cluster.pull(WEB_1, f"{between.host}/nothing/here").status_code == 500
    wait_until(lambda: between.busy == 0, what="the engine to have let go of the registry")
    assert engines[0].image(through(between, medium)) is None
    assert between.served < 4 * MB
