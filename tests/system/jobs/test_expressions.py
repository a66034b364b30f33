"""Targets that are expressions: over HTTP, in jobs, in retries, in lists, within permissions."""

from urllib.parse import quote

import pytest

from tests.system.jobs.asking import Ask, job_id
from tests.testing.answers import refused, statuses
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate

LOAD = "/node/{}/load"


def meant(cluster: Cluster, target: str) -> list[str]:
    answer = cluster.reader.get(LOAD.format(target))
    assert answer.status_code == 200, answer.text
    return [result["hostname"] for result in answer.json()["results"]]


@pytest.mark.parametrize("written", [str, quote], ids=["plain", "encoded"])
def test_an_expression_is_a_target_in_the_path(jobs: Cluster, written: type[str]) -> None:
    for target, expected in {
        "t*": ["three", "two"],
        "group:gate,!two": ["one", "three"],
        "_all,!t*;two": ["one", "two"],
        "group:*,!one": ["three", "two"],
    }.items():
        assert meant(jobs, written(target)) == expected
    assert meant(jobs, written("_any,t*,!two")) == ["three"]


def test_a_job_has_the_one_text_of_its_target_and_is_found_by_any(jobs: Cluster, ask: Ask) -> None:
    made = job_id(ask("two;group:gate,one"))
    assert jobs.job(made)["target"] == "group:gate,one;two"
    for same in ("two;group:gate,one", "one,group:gate;two", "two;one,group:gate;two"):
        found = jobs.reader.get("/job", params={"target": same, "limit": 1}).json()["items"]
        assert [each["id"] for each in found] == [made]
    assert jobs.reader.get("/job", params={"target": ";;"}).json()["total_items"] == 0


def test_an_expression_that_means_one_node_is_a_broadcast_and_one_for_any_is_not(
    jobs: Cluster, ask: Ask
) -> None:
    answer = ask("group:gate,one", body={"fail": True})
    assert answer.status_code == 202
    assert statuses(answer.json()) == {"one": "failed"}
    answer = ask("_any,one", body={"fail": True})
    assert answer.status_code == 500
    assert "failed on one" in answer.json()["error"]


def test_waves_are_for_expressions_that_mean_all(jobs: Cluster, ask: Ask) -> None:
    query = "?max_parallel=1&canary=1"
    assert statuses(ask("_all,!one", query=query).json()) == {"two": "ok", "three": "ok"}
    assert "is one node" in refused(ask("_any,t*", query=query), 400)


def test_a_retry_of_an_expression_is_for_those_that_failed(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    gate.damage(f"{name}@two")
    job = job_id(ask("t*"))
    assert statuses(jobs.ended(job)) == {"two": "failed", "three": "ok"}
    gate.mend(f"{name}@two")
    waits = {"Prefer": "wait=30"}
    again = jobs.writer.post(f"/job/{job}/retry", headers=waits).json()["job_id"]
    assert statuses(jobs.job(again)) == {"two": "ok"}
    assert jobs.job(again)["target"] == "t*"
    body = {"target_hostname": "one;three"}
    other = jobs.writer.post(f"/job/{job}/retry", json=body, headers=waits).json()["job_id"]
    assert statuses(jobs.job(other)) == {"one": "ok", "three": "ok"}


def test_a_permission_that_is_narrowed_holds_for_all_that_an_expression_means(
    jobs: Cluster, ask: Ask
) -> None:
    narrow = jobs.client(jobs.token("narrow", permissions=["docker:write@t*"]))
    assert statuses(ask("_all,!one", client=narrow).json()) == {"two": "ok", "three": "ok"}
    assert "one is outside of that" in refused(ask("one;two", client=narrow), 403)
    for _ in range(5):
        assert statuses(ask("_any,group:gate,!two", client=narrow).json()) == {"three": "ok"}
    assert "no registered node is inside" in refused(ask("_any,one", client=narrow), 403)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (";;", "something is missing"),
        ("!", "excludes no names"),
        ("!_all", "excludes no names"),
        ("_any;_any", "exactly one node"),
        ("*", "write '_all'"),
        ("_a*", "reserved"),
        ("wéb;one", "not ASCII"),
        ("a" * 10_000 + "*", "at most 2000"),
        ("three;onee", "No registered node is called 'onee'. Did you mean one?"),
        ("_all,!twoo", "No registered node is called 'twoo'. Did you mean two?"),
        ("one,two", "means no node"),
    ],
)
def test_an_expression_that_means_nothing_is_refused_and_no_job_is_made(
    jobs: Cluster, ask: Ask, target: str, says: str
) -> None:
    made = jobs.jobs_made()
    answer = ask(quote(target))
    assert says in refused(answer, 400)
    assert jobs.jobs_made() == made


def test_a_node_is_named_by_the_beginning_of_its_machine_id(jobs: Cluster) -> None:
    short = jobs.reader.get("/agent/two").json()["machine_id"][:12]
    assert meant(jobs, short) == ["two"]
    assert meant(jobs, f"_all,!{short}") == ["one", "three"]
    assert jobs.reader.get(f"/agent/{short}").json()["hostname"] == "two"
    assert jobs.reader.get("/job", params={"node": short, "limit": 1}).is_success
    said = refused(jobs.reader.get(f"/agent/{short[:11]}"), 404)
    assert "No registered node is called" in said
