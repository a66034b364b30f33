"""A key makes several requests one job."""

import threading
import uuid

import httpx
import pytest

from tests.system.jobs.asking import NODES, Ask, job_id
from tests.testing.answers import refused, statuses
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate


def test_the_same_key_with_the_same_request_means_the_same_job(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = ask("_all", headers=key)
    job = job_id(first)
    assert ask("_all", headers=key).json() == first.json()
    other = ask("_all", headers=key, client=jobs.others[0])
    assert other.headers["Location"] == f"/job/{job}"
    assert statuses(other.json()) == dict.fromkeys(NODES, "ok")
    jobs.controller.kill()
    jobs.controller.start()
    jobs.controller.wait_for_output("answers at")
    jobs.wait_here(*NODES)
    assert job_id(ask("_all", headers=key)) == job
    assert [gate.begun(name, node) for node in NODES] == [1, 1, 1]


def test_a_key_is_known_though_its_node_takes_no_work_any_more(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    job = job_id(ask("two", headers=key))
    jobs.admin.post("/agent/two/drain")
    try:
        again = ask("two", headers=key)
        assert job_id(again) == job
        assert statuses(again.json()) == {"two": "ok"}
    finally:
        jobs.admin.post("/agent/two/undrain")
    assert gate.begun(name, "two") == 1


def at_once(jobs: Cluster, ask: Ask, target: str, key: str) -> list[httpx.Response]:
    """Ask for the same at both controllers, several times at once; return the answers."""
    answers: list[httpx.Response] = []
    headers = {"Idempotency-Key": key}
    callers = [
        threading.Thread(
            target=lambda client=client: answers.append(ask(target, headers=headers, client=client))
        )
        for client in (jobs.admin, jobs.others[0]) * 4
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return answers


def test_many_requests_with_one_key_at_once_make_one_job(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    made = jobs.jobs_made()
    answers = at_once(jobs, ask, "_all", str(uuid.uuid4()))
    assert len({job_id(answer) for answer in answers}) == 1
    assert jobs.jobs_made() == made + 1
    assert [gate.begun(name, node) for node in NODES] == [1, 1, 1]


def test_many_requests_with_one_key_at_once_are_answered_with_what_one_node_has_done(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    for number in range(5):
        answers = at_once(jobs, ask, "_any", f"{name}-{number}")
        shown = [answer.json()["results"] for answer in answers]
        assert shown == [shown[0]] * len(answers)
        assert [result["status"] for result in shown[0]] == ["ok"]
        assert sum(gate.begun(name, node) for node in NODES) == number + 1


def test_a_key_stands_for_one_request_of_one_caller(jobs: Cluster, ask: Ask) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    job = job_id(ask("one", headers=key))
    for more in ({"body": {"fail": True}}, {"query": "?expires=7s"}):
        answer = ask("one", headers=key, **more)
        assert job in refused(answer, 409)
    refused(ask("two", headers=key), 409)
    eve = jobs.client(jobs.token("admin", subject="eve"))
    assert job_id(ask("one", headers=key, client=eve)) != job


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(jobs: Cluster, ask: Ask, key: str) -> None:
    made = jobs.jobs_made()
    refused(ask("one", headers={"Idempotency-Key": key}), 400)
    assert jobs.jobs_made() == made
