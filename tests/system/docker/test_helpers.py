"""What a pull can do without, it does without: its own failure counts, and no helper's."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.testing.answers import results
from tests.testing.cluster import FRAIL, LABELS, WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.engine import Engine, EngineKind, running_engines
from tests.testing.process import wait_until
from tests.testing.proxy import Answer, FaultyProxy
from tests.testing.registry import PushedImage, Registry, random_layer

FORBIDDEN = Answer(match="^(?!.* (/v[0-9.]+)?/images/)", status=403, body=b"Forbidden")
"""What a proxy before an engine's socket says to all but images."""


@pytest.fixture(scope="module")
def guards(engines: Sequence[Engine]) -> Iterator[Sequence[FaultyProxy]]:
    """What stands before each engine."""
    with ExitStack() as stack:
        yield [stack.enter_context(FaultyProxy.before_engine(engine)) for engine in engines]


@pytest.fixture(scope="module")
def guarded(
    guards: Sequence[FaultyProxy], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Three nodes whose engines are behind proxies."""
    plans = [
        NodePlan(hostname, guard.url, (label,))
        for (hostname, label), guard in zip(LABELS.items(), guards, strict=True)
    ]
    with Cluster(tmp_path_factory.mktemp("guarded"), plans) as cluster:
        yield cluster


@pytest.fixture
def restricted(guards: Sequence[FaultyProxy], guarded: Cluster) -> Iterator[Cluster]:
    """They let images through and nothing else."""
    for guard in guards:
        guard.fault = FORBIDDEN
    yield guarded
    for guard in guards:
        guard.fault = None


def attempts(cluster: Cluster, job: str) -> list[str]:
    timeline = cluster.job(job)["timeline"]
    return [moment["message"] for moment in timeline if moment["event"] == "attempt"]


def test_a_proxy_that_lets_images_through_alone_is_enough(
    restricted: Cluster, guards: Sequence[FaultyProxy], image: PushedImage
) -> None:
    for changed in (True, False):
        (alone,) = results(restricted.pull(WEB_1, image.reference)).values()
        assert (alone["status"], alone["digest"]) == ("ok", image.digest)
        assert alone["changed"] is changed
    answer = restricted.pull("_all", image.reference)
    found = results(answer)
    assert {hostname: each["status"] for hostname, each in found.items()} == dict.fromkeys(
        LABELS, "ok"
    )
    assert {each["digest"] for each in found.values()} == {image.digest}
    # What one of them got by the tag is what the job says that it was.
    job = restricted.job(answer.json()["job_id"])
    assert job["resolved"]["digest"] == image.digest
    assert attempts(restricted, job["id"]) == []
    for hostname in LABELS:
        node = restricted.node(hostname) or {}
        assert node["status"] == "Ready"
        assert not node.get("troubles", {}).get("docker")
    asked = {line.partition("?")[0] for guard in guards for line in guard.requests}
    assert any(line.endswith("/version") for line in asked)
    assert any("/distribution/" in line for line in asked)


@pytest.mark.parametrize(
    "fault",
    [
        Answer(match="/distribution/|/info", status=500, body=b'{"message": "no luck"}'),
        Answer(match="/distribution/|/info", status=200, body=b"<html>", content_type="text/html"),
        Answer(match="/distribution/|/info", status=404, body=b"page not found"),
    ],
    ids=lambda fault: str(fault.status),
)
def test_an_engine_that_fails_at_all_but_the_pull_pulls(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage, fault: Answer
) -> None:
    proxy.fault = fault
    (found,) = results(frail.pull("_all", image.reference)).values()
    assert (found["status"], found["digest"], found["changed"]) == ("ok", image.digest, True)


def test_a_node_whose_engine_can_not_resolve_leaves_it_to_the_others_and_pulls_what_they_do(
    guarded: Cluster,
    guards: Sequence[FaultyProxy],
    engines: Sequence[Engine],
    image: PushedImage,
) -> None:
    guards[0].fault = Answer(match="/distribution/", status=500, body=b'{"message": "no luck"}')
    try:
        found = results(guarded.pull("_all", image.reference))
    finally:
        guards[0].fault = None
    assert {each["digest"] for each in found.values()} == {image.digest}
    assert len({engine.image_id(image.reference) for engine in engines}) == 1


def test_the_first_of_two_mirrors_need_not_have_the_image(
    engine_kind: EngineKind, registry: Registry, tmp_path: Path
) -> None:
    """Asked what a tag is, Engine 20.10 asks the first alone; its pull asks both."""
    name = f"library/mirrored-{engine_kind}"
    image = registry.push_image(name, "1.0", [random_layer(name)])
    with Registry() as empty:
        mirrors = [empty.url.replace("127.0.0.1", "localhost"), f"http://{registry.host}"]
        with running_engines(engine_kind, 2, mirrors) as engines:
            urls = [engine.url for engine in engines]
            plans = [NodePlan(*each) for each in zip((WEB_1, WEB_2), urls, strict=True)]
            with Cluster(tmp_path, plans) as cluster:
                answer = cluster.pull("_all", f"{name.partition('/')[2]}:1.0")
                found = results(answer)
                assert {each["status"] for each in found.values()} == {"ok"}, found
                assert {each["digest"] for each in found.values()} == {image.digest}
                assert attempts(cluster, answer.json()["job_id"]) == []
                # Engines shorten the names of Docker Hub; none is left over.
                short = f"{name.partition('/')[2]}:1.0"
                tags = [(engine.image(short) or {}).get("RepoTags") for engine in engines]
                assert tags == [[short]] * 2


def test_an_engine_of_an_old_api_is_asked_by_that(
    frail: Cluster, proxy: FaultyProxy, engines: Sequence[Engine], image: PushedImage
) -> None:
    version = engines[0].version()
    oldest = version["MinAPIVersion"]
    proxy.fault = Answer(
        match="/version", status=200, body=json.dumps({**version, "ApiVersion": oldest}).encode()
    )
    # The agent asks for the version anew when the engine was away.
    proxy.refuse()
    wait_until(
        lambda: bool((frail.node(FRAIL) or {}).get("troubles", {}).get("docker")), what="trouble"
    )
    proxy.accept()
    wait_until(
        lambda: not (frail.node(FRAIL) or {}).get("troubles", {}).get("docker"), what="no trouble"
    )
    proxy.requests.clear()
    (found,) = results(frail.pull(FRAIL, image.reference)).values()
    assert (found["status"], found["digest"]) == ("ok", image.digest)
    assert any(line.startswith(f"POST /v{oldest}/images/create") for line in proxy.requests)
