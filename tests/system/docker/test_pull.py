"""The pull, from the HTTP request to the engine and back, on both kinds of engine."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.testing.answers import results
from tests.testing.cluster import DB_1, FRAIL, PULL, WEB_1, WEB_2, Cluster
from tests.testing.engine import Engine
from tests.testing.engine_api import pull_errors
from tests.testing.process import wait_until
from tests.testing.proxy import Answer, Cut, EndEarly, FaultyProxy, Freeze
from tests.testing.registry import PushedImage, Registry, random_layer
from towline.errors import sentence


def failure(answer: httpx.Response, cluster: Cluster) -> str:
    """Return the details of a failed pull, after a look at everything else that says so.

    Neither the answer nor the job claims an image.
    """
    assert answer.status_code == 500, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error", "details", "code"}
    assert body["code"] == 500
    _, _, job_id = answer.headers["Location"].rpartition("/")
    assert job_id in body["details"]
    job = cluster.job(job_id)
    assert job["status"] == "failed"
    assert "changed" not in job
    (result,) = job["results"]
    assert result.keys() == {"hostname", "machine_id", "status", "error"}
    assert result["status"] == "failed"
    assert result["error"] in body["details"]
    assert body["error"] == sentence(f"docker.pull failed on {result['hostname']}", result["error"])
    details: str = body["details"]
    return details


def test_a_pull_returns_exactly_what_the_engine_now_has(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage
) -> None:
    answer = cluster.pull(WEB_1, image.reference)

    on_node = engines[0].image(image.reference)
    assert on_node is not None
    assert results(answer) == {
        WEB_1: {
            "hostname": WEB_1,
            "machine_id": cluster.machine_id(WEB_1),
            "status": "ok",
            "image_id": on_node["Id"],
            "tag": "1.0",
            "size": on_node["Size"],
            "digest": image.digest,
            "changed": True,
        }
    }


def test_a_second_pull_of_the_same_image_changes_nothing(
    cluster: Cluster, image: PushedImage
) -> None:
    first = results(cluster.pull(WEB_1, image.reference))[WEB_1]
    second = results(cluster.pull(WEB_1, image.reference))[WEB_1]
    assert second == {**first, "changed": False}


def test_a_tag_that_moved_is_a_change_with_another_id(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage, registry: Registry
) -> None:
    first = results(cluster.pull(WEB_1, image.reference))[WEB_1]
    registry.push_image(image.repository, "1.0", [random_layer(f"moved {image.repository}")])
    second = results(cluster.pull(WEB_1, image.reference))[WEB_1]
    assert second["changed"] is True
    assert second["image_id"] != first["image_id"]
    assert second["image_id"] == engines[0].image_id(image.reference)


def test_a_pull_by_digest_has_no_tag(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage
) -> None:
    first = results(cluster.pull(WEB_1, image.by_digest))[WEB_1]
    second = results(cluster.pull(WEB_1, image.by_digest))[WEB_1]
    assert "tag" not in first
    assert first["digest"] == image.digest
    assert first["image_id"] == engines[0].image_id(image.by_digest)
    assert first["changed"] is True
    assert second == {**first, "changed": False}


def test_of_tag_and_digest_the_digest_decides_and_both_are_shown(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage, registry: Registry
) -> None:
    registry.push_image(image.repository, "1.0", [random_layer(f"moved {image.repository}")])
    reference = f"{image.reference}@{image.digest}"
    first = results(cluster.pull(WEB_1, reference))[WEB_1]
    second = results(cluster.pull(WEB_1, reference))[WEB_1]
    assert first["tag"] == "1.0"
    assert first["digest"] == image.digest
    assert first["image_id"] == engines[0].image_id(image.by_digest)
    assert first["changed"] is True
    assert second == {**first, "changed": False}


def test_without_a_tag_it_is_latest_though_the_registry_has_a_port(
    cluster: Cluster, engines: Sequence[Engine], registry: Registry
) -> None:
    repository = f"pull/untagged-{engines[0].kind}"
    latest = registry.push_image(repository, "latest")
    registry.push_image(repository, str(registry.port))
    result = results(cluster.pull(WEB_1, registry.reference(repository)))[WEB_1]
    assert result["tag"] == "latest"
    assert result["digest"] == latest.digest
    assert result["image_id"] == engines[0].image_id(latest.reference)


def test_any_is_exactly_one_node(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage
) -> None:
    answer = cluster.pull("_any", image.reference)
    (result,) = results(answer).values()
    assert result["status"] == "ok"
    having = [e.image(image.reference) is not None for e in engines]
    assert having == [result["hostname"] == name for name in (WEB_1, WEB_2, DB_1)]
    assert [r["hostname"] for r in cluster.job(answer.json()["job_id"])["results"]] == [
        result["hostname"]
    ]


def test_the_load_of_any_is_shared(cluster: Cluster, image: PushedImage) -> None:
    with ThreadPoolExecutor(8) as callers:
        answers = callers.map(lambda _: cluster.pull("_any", image.reference), range(24))
        chosen = {next(iter(results(answer))) for answer in answers}
    assert chosen == {WEB_1, WEB_2, DB_1}


def test_all_is_every_node(cluster: Cluster, engines: Sequence[Engine], image: PushedImage) -> None:
    found = results(cluster.pull("_all", image.reference))
    assert found.keys() == {WEB_1, WEB_2, DB_1}
    for engine, hostname in zip(engines, (WEB_1, WEB_2, DB_1), strict=True):
        assert found[hostname]["status"] == "ok"
        assert found[hostname]["changed"] is True
        assert found[hostname]["image_id"] == engine.image_id(image.reference)


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        ("group:web", {WEB_1, WEB_2}),
        ("group:web.dev", {WEB_1}),
        ("group:web.dev.eu", {WEB_1}),
        ("group:website", {DB_1}),
    ],
)
def test_a_label_is_all_nodes_that_carry_it_by_whole_segments(
    cluster: Cluster,
    engines: Sequence[Engine],
    image: PushedImage,
    label: str,
    meant: set[str],
) -> None:
    found = results(cluster.pull(label, image.reference))
    assert found.keys() == meant
    assert {result["status"] for result in found.values()} == {"ok"}
    for engine, hostname in zip(engines, (WEB_1, WEB_2, DB_1), strict=True):
        assert (engine.image(image.reference) is not None) is (hostname in meant)


def test_a_machine_id_is_a_target(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage
) -> None:
    node = cluster.node(WEB_2)
    assert node is not None
    found = results(cluster.pull(node["machine_id"], image.reference))
    assert found.keys() == {WEB_2}
    assert engines[1].image(image.reference) is not None


def test_a_percent_encoded_letter_of_a_target_is_that_letter(cluster: Cluster) -> None:
    (result,) = cluster.reader.get("/node/%77eb-01/load").json()["results"]
    assert result["hostname"] == WEB_1


def test_the_same_answers_under_api_and_with_an_api_key(
    cluster: Cluster, image: PushedImage
) -> None:
    answer = cluster.anyone.post(
        f"/api/node/{WEB_1}/{PULL}",
        json={"image": image.reference},
        headers={"X-API-Key": cluster.token("write")},
    )
    assert results(answer)[WEB_1]["changed"] is True


@pytest.mark.parametrize("prefer", ["wait=0", "respond-async"])
def test_an_answer_at_once_leaves_the_rest_to_the_job(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage, prefer: str
) -> None:
    proxy.fault = Freeze(match="images/create")
    answer = frail.pull(FRAIL, image.reference, prefer=prefer)
    assert answer.headers["Preference-Applied"] == prefer
    result = results(answer)[FRAIL]
    assert result["status"] in ("pending", "running")
    assert result.keys() == {"hostname", "machine_id", "status"}

    proxy.fault = None
    job = frail.ended(answer.json()["job_id"])
    assert job["status"] == "completed"
    (end,) = job["results"]
    assert (end["status"], end["changed"], end["digest"]) == ("ok", True, image.digest)


def test_a_wait_that_runs_out_is_no_failure(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    proxy.fault = Freeze(match="images/create")
    answer = frail.pull(FRAIL, image.reference, prefer="wait=1")
    assert answer.headers["Preference-Applied"] == "wait=1"
    result = results(answer)[FRAIL]
    assert result.keys() == {"hostname", "machine_id", "status"}
    assert result["status"] == "running"

    proxy.fault = None
    (end,) = frail.ended(answer.json()["job_id"])["results"]
    assert end["status"] == "ok"


def test_a_client_that_hangs_up_does_not_stop_the_job(
    frail: Cluster, proxy: FaultyProxy, engines: Sequence[Engine], image: PushedImage
) -> None:
    proxy.fault = Freeze(match="images/create")
    before = len(proxy.requests)
    with pytest.raises(httpx.ReadTimeout):
        frail.writer.post(f"/node/{FRAIL}/{PULL}", json={"image": image.reference}, timeout=1)
    wait_until(lambda: any("images/create" in line for line in proxy.requests[before:]))
    proxy.fault = None
    wait_until(lambda: engines[0].image(image.reference) is not None, what="the image")


def test_pulls_of_the_same_image_at_the_same_time_are_one_at_the_engine(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    def pulls_begun() -> int:
        return sum("images/create" in line for line in proxy.requests[before:])

    before = len(proxy.requests)
    proxy.fault = Freeze(match="images/create")
    ids = [frail.pull(FRAIL, image.reference, prefer="respond-async").json()["job_id"]]
    wait_until(lambda: pulls_begun() == 1, what="a pull under way")
    ids += [
        frail.pull(FRAIL, image.reference, prefer="respond-async").json()["job_id"]
        for _ in range(5)
    ]
    wait_until(
        lambda: all(frail.job(i, wait=0)["status"] == "processing" for i in ids),
        what="all to be started",
    )
    proxy.fault = None
    ends = [frail.ended(job_id)["results"][0] for job_id in ids]
    assert {end["status"] for end in ends} == {"ok"}
    # The tag may have moved while the first pull was under way: the others share a second one.
    assert [end["changed"] for end in ends] == [True] + [False] * 5
    assert pulls_begun() == 2


def test_of_a_missing_image_the_caller_learns_the_engines_own_words(
    cluster: Cluster, engines: Sequence[Engine], registry: Registry
) -> None:
    reference = registry.reference("pull/nowhere", "1.0")
    (words,) = pull_errors(engines[0].pull(reference))
    assert words in failure(cluster.pull(WEB_1, reference), cluster)
    assert engines[0].image(reference) is None


def test_of_a_registry_that_is_down_the_caller_learns_the_engines_own_words(
    cluster: Cluster,
) -> None:
    with Registry() as other:
        image = other.push_image("pull/down", "1.0")
        other.stop()
        details = failure(cluster.pull(WEB_1, image.reference, retries=0), cluster)
        assert "connection refused" in details
        assert str(other.port) in details


def test_of_a_closed_registry_the_caller_learns_the_engines_own_words(
    cluster: Cluster, engines: Sequence[Engine]
) -> None:
    with Registry(authenticated=True) as closed:
        image = closed.push_image("pull/closed", "1.0")
        (words,) = pull_errors(engines[0].pull(image.reference))
        assert words in failure(cluster.pull(WEB_1, image.reference), cluster)
        assert engines[0].image(image.reference) is None


def test_of_no_image_for_the_platform_the_caller_learns_the_engines_own_words(
    cluster: Cluster, engines: Sequence[Engine], registry: Registry
) -> None:
    foreign = registry.push_image("pull/foreign", "1.0-s390x", architecture="s390x")
    registry.push_index("pull/foreign", "1.0", [foreign])
    reference = registry.reference("pull/foreign", "1.0")
    assert "no match" in failure(cluster.pull(WEB_1, reference), cluster)
    assert engines[0].image(reference) is None


def test_a_corrupt_layer_fails_the_pull(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage, registry: Registry
) -> None:
    registry.corrupt_blob(image.layer_digests[0])
    assert image.layer_digests[0] in failure(
        cluster.pull(WEB_1, image.reference, retries=0), cluster
    )
    assert engines[0].image(image.reference) is None


def test_a_corrupt_layer_fails_the_pull_though_an_older_image_is_there(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage, registry: Registry
) -> None:
    older = results(cluster.pull(WEB_1, image.reference))[WEB_1]
    layer = random_layer(f"newer {image.repository}")
    newer = registry.push_image(image.repository, "1.0", [layer])
    registry.corrupt_blob(newer.layer_digests[0])
    failure(cluster.pull(WEB_1, image.reference, retries=0), cluster)
    assert engines[0].image_id(image.reference) == older["image_id"]


@pytest.mark.parametrize("fault", [Cut, EndEarly])
@pytest.mark.parametrize("lines", [0, 1, 3])
def test_a_progress_stream_that_stops_early_is_a_failure(
    frail: Cluster,
    proxy: FaultyProxy,
    image: PushedImage,
    fault: type[Cut] | type[EndEarly],
    lines: int,
) -> None:
    proxy.fault = fault(match="images/create", after=lines, unit="line")
    failure(frail.pull(FRAIL, image.reference, retries=0), frail)


def test_a_stream_that_stops_early_is_a_failure_though_the_image_is_there(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    assert results(frail.pull(FRAIL, image.reference))[FRAIL]["changed"] is True
    proxy.fault = EndEarly(match="images/create", after=1, unit="line")
    assert "ended" in failure(frail.pull(FRAIL, image.reference, retries=0), frail)
    proxy.fault = None
    assert results(frail.pull(FRAIL, image.reference))[FRAIL]["changed"] is False


def test_an_image_that_cannot_be_inspected_afterwards_is_a_failure(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    proxy.fault = Freeze(match="images/create")
    before = len(proxy.requests)
    answer = frail.pull(FRAIL, image.reference, prefer="respond-async", retries=0)
    wait_until(lambda: any("images/create" in line for line in proxy.requests[before:]))
    proxy.fault = Answer(match="GET .*/images/.*/json", status=500, body=b'{"message": "no luck"}')

    job = frail.ended(answer.json()["job_id"])
    assert job["status"] == "failed"
    (result,) = job["results"]
    assert (result["status"], result["error"]) == ("failed", "no luck")
    assert result.keys() == {"hostname", "machine_id", "status", "error"}


def test_a_node_whose_engine_is_down_says_so_and_recovers(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage
) -> None:
    engine = engines[2]

    def trouble() -> str:
        node = cluster.node(DB_1)
        assert node is not None
        assert node["status"] == "Ready"
        said: str = node.get("troubles", {}).get("docker", "")
        return said

    assert trouble() == ""
    engine.stop()
    try:
        words = failure(cluster.pull(DB_1, image.reference, retries=0), cluster)
        assert "cannot connect" in words
        assert str(engine.socket) in words
        wait_until(lambda: "cannot connect" in trouble(), what="the node's word of its engine")

        answer = cluster.pull("_all", image.reference, retries=0)
        found = results(answer)
        assert found[DB_1].keys() == {"hostname", "machine_id", "status", "error"}
        assert found[DB_1]["status"] == "failed"
        assert "cannot connect" in found[DB_1]["error"]
        for hostname in (WEB_1, WEB_2):
            assert (found[hostname]["status"], found[hostname]["changed"]) == ("ok", True)
        assert cluster.job(answer.json()["job_id"])["status"] == "partial_failure"

        for _ in range(5):
            assert DB_1 not in results(cluster.pull("_any", image.reference))
    finally:
        engine.start()
    wait_until(lambda: trouble() == "", what="the node's word that its engine is back")
    assert results(cluster.pull(DB_1, image.reference))[DB_1]["changed"] is True
