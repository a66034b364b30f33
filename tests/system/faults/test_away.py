"""Nodes, and other parts, that are away for a while: nothing is waited for, nothing is lost."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.testing.answers import results
from tests.testing.cluster import DB_1, FRAIL, WEB_1, WEB_2, Cluster
from tests.testing.engine import Engine
from tests.testing.marks import ONE_KIND
from tests.testing.process import wait_until
from tests.testing.proxy import FaultyProxy, Freeze
from tests.testing.registry import PushedImage, Registry

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
SINCE = f"not reachable since {TIME}"
UNTIL = re.compile(f"{SINCE}, runs when it returns, until {TIME}")
# Longer than the client of the tests has patience: a request that waits fails its test.
LONG = "wait=3000"


@pytest.fixture
def away(cluster: Cluster) -> Iterator[str]:
    """A node whose agent was stopped; it comes back with the end of the test at the latest."""
    agent = cluster.agents[DB_1]
    assert agent.stop() == 0
    cluster.wait_away(DB_1)
    yield DB_1
    if not agent.running:
        agent.start()
    cluster.wait_here(DB_1)


@ONE_KIND
def test_for_a_node_that_is_away_the_answer_comes_at_once_and_the_job_runs_when_it_returns(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage, away: str
) -> None:
    answer = cluster.pull(away, image.reference, prefer=LONG)
    (result,) = results(answer).values()
    assert result.keys() == {"hostname", "machine_id", "status", "reason"}
    assert (result["hostname"], result["status"]) == (away, "pending")
    assert UNTIL.fullmatch(result["reason"])
    job_id = answer.json()["job_id"]
    assert cluster.job(job_id)["status"] == "submitted"

    cluster.agents[away].start()
    job = cluster.ended(job_id)
    assert job["status"] == "completed"
    (end,) = job["results"]
    assert (end["status"], end["changed"]) == ("ok", True)
    assert end["image_id"] == engines[2].image_id(image.reference)


@ONE_KIND
def test_a_node_that_is_away_does_not_delay_the_others(
    cluster: Cluster, image: PushedImage, away: str
) -> None:
    answer = cluster.pull("_all", image.reference, prefer=LONG)
    found = results(answer)
    assert {name: result["status"] for name, result in found.items()} == {
        WEB_1: "ok",
        WEB_2: "ok",
        away: "pending",
    }
    assert UNTIL.fullmatch(found[away]["reason"])
    job_id = answer.json()["job_id"]
    assert cluster.job(job_id)["status"] == "processing"

    cluster.agents[away].start()
    job = cluster.ended(job_id)
    assert job["status"] == "completed"
    assert {result["status"] for result in job["results"]} == {"ok"}


@ONE_KIND
def test_a_job_that_has_expired_does_not_run_when_the_node_returns(
    cluster: Cluster,
    engines: Sequence[Engine],
    image: PushedImage,
    registry: Registry,
    away: str,
) -> None:
    answer = cluster.pull(away, image.reference, query="?expires=1s")
    assert results(answer)[away]["status"] == "pending"
    job_id = answer.json()["job_id"]
    job = cluster.ended(job_id)
    (end,) = job["results"]
    assert job["status"] == "failed"
    assert end["status"] == "expired"
    assert re.search(f"expired at {TIME}", end["reason"])

    cluster.agents[away].start()
    cluster.wait_here(away)
    later = registry.push_image(f"{image.repository}-later", "1.0")
    # Jobs reach a node in the order in which they were made.
    assert results(cluster.pull(away, later.reference))[away]["status"] == "ok"
    assert engines[2].image(image.reference) is None
    assert cluster.job(job_id)["results"][0]["status"] == "expired"


@ONE_KIND
def test_reads_are_not_kept_for_a_node_that_is_away(cluster: Cluster, away: str) -> None:
    for path in ("load", "container/docker"):
        made = cluster.jobs_made()
        answer = cluster.admin.get(f"/node/{away}/{path}", headers={"Prefer": LONG})
        assert answer.status_code == 500
        assert re.search(SINCE, answer.json()["details"])
        assert cluster.jobs_made() == made


@ONE_KIND
def test_a_read_of_all_nodes_fails_for_those_that_are_away(cluster: Cluster, away: str) -> None:
    answer = cluster.admin.get("/node/_all/load", headers={"Prefer": LONG})
    assert answer.status_code == 200
    found = {result["hostname"]: result for result in answer.json()["results"]}
    assert found.keys() == {WEB_1, WEB_2, away}
    assert found[away].keys() == {"hostname", "machine_id", "status", "error"}
    assert found[away]["status"] == "failed"
    assert re.search(SINCE, found[away]["error"])
    for name in (WEB_1, WEB_2):
        assert found[name]["status"] == "ok"
        assert set(found[name]["load_average"]) == {"1min", "5min", "15min"}


@ONE_KIND
def test_any_is_never_a_node_that_is_away(cluster: Cluster, image: PushedImage, away: str) -> None:
    for _ in range(6):
        (result,) = results(cluster.pull("_any", image.reference)).values()
        assert result["status"] == "ok"
        assert result["hostname"] != away


@ONE_KIND
def test_a_node_that_was_killed_is_away_after_it_has_missed_its_heartbeats(
    cluster: Cluster, image: PushedImage
) -> None:
    agent = cluster.agents[DB_1]
    agent.kill()
    try:
        cluster.wait_away(DB_1)
        answer = cluster.pull(DB_1, image.reference, prefer=LONG)
        result = results(answer)[DB_1]
        assert result["status"] == "pending"
        assert UNTIL.fullmatch(result["reason"])
    finally:
        agent.start()
    assert cluster.ended(answer.json()["job_id"])["status"] == "completed"
    cluster.wait_here(DB_1)


def under_way(proxy: FaultyProxy, before: int) -> None:
    """Wait until the engine has been asked for a pull."""
    wait_until(
        lambda: any("images/create" in line for line in proxy.requests[before:]),
        what="a pull under way",
    )


def test_a_request_does_not_wait_for_a_node_that_goes_away_and_the_pull_is_taken_up_again(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    agent = frail.agents[FRAIL]
    before = frail.broker.last_sequence("CHANGES")
    proxy.fault = Freeze(match="images/create")
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(frail.pull, FRAIL, image.reference, prefer=LONG)
        wait_until(
            lambda: frail.broker.last_sequence("CHANGES") > before + 1,
            what="word that it was started",
        )
        agent.kill()
        try:
            answer = asked.result()
        finally:
            proxy.fault = None
            agent.start()
    result = results(answer)[FRAIL]
    assert result["status"] == "running"
    assert re.search(SINCE, result["reason"])
    (end,) = frail.ended(answer.json()["job_id"])["results"]
    assert (end["status"], end["digest"]) == ("ok", image.digest)


def test_a_pull_goes_on_though_the_controller_is_killed(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    before = len(proxy.requests)
    proxy.fault = Freeze(match="images/create")
    job_id = frail.pull(FRAIL, image.reference, prefer="respond-async").json()["job_id"]
    under_way(proxy, before)
    frail.controller.kill()
    proxy.fault = None
    frail.controller.start()
    frail.controller.wait_for_output("answers at")
    frail.wait_here(FRAIL)
    (end,) = frail.ended(job_id)["results"]
    assert (end["status"], end["changed"]) == ("ok", True)


def test_a_pull_that_ends_while_the_broker_is_away_is_reported_afterwards(
    frail: Cluster, proxy: FaultyProxy, engines: Sequence[Engine], image: PushedImage
) -> None:
    before = len(proxy.requests)
    proxy.fault = Freeze(match="images/create")
    job_id = frail.pull(FRAIL, image.reference, prefer="respond-async").json()["job_id"]
    under_way(proxy, before)
    frail.broker.stop()
    try:
        proxy.fault = None
        wait_until(lambda: engines[0].image(image.reference) is not None, what="the image")
    finally:
        frail.broker.start()
    frail.wait_here(FRAIL)
    (end,) = frail.ended(job_id)["results"]
    assert (end["status"], end["changed"]) == ("ok", True)


@ONE_KIND
def test_an_index_that_was_lost_is_built_anew_from_the_journal(
    frail: Cluster, image: PushedImage
) -> None:
    answer = frail.pull(FRAIL, image.reference)
    job = frail.job(answer.json()["job_id"])
    assert frail.controller.stop() == 0
    for path in (frail.directory / "controller").glob("index.sqlite*"):
        path.unlink()
    frail.controller.start()
    frail.controller.wait_for_output("answers at")
    frail.wait_here(FRAIL)
    assert frail.job(job["id"]) == job
