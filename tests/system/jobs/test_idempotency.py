"""A key makes several requests one job."""

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.system.jobs.asking import NODES, Ask, job_id
from tests.testing.answers import refused, statuses
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from towline.client import new_job_id
from towline.wire.job import first_id


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


def named() -> dict[str, str]:
    """Return the header of a job that is named before it is made."""
    return {"Idempotency-Key": new_job_id()}


def test_a_key_that_is_a_uuid_of_version_7_is_the_job_s_id(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    for target, operation in (("_all", "pass"), ("_any", "once"), ("one", "look")):
        key = named()
        shouted = {name: value.upper() for name, value in key.items()}
        first = ask(target, operation, headers=shouted)
        assert job_id(first) == key["Idempotency-Key"]
        assert ask(target, operation, headers=key, client=jobs.others[0]).json() == first.json()
        assert jobs.job(job_id(first), wait=0)["status"] == "completed"
    key = named()
    made = jobs.admin.post(
        f"/job/{job_id(first)}/retry", json={"target_hostname": "two"}, headers=key
    )
    assert job_id(made) == key["Idempotency-Key"]


@pytest.mark.parametrize("operation", ["pass", "look"])
def test_nobody_is_given_another_caller_s_job_by_its_id(
    jobs: Cluster, gate: Gate, ask: Ask, name: str, operation: str
) -> None:
    eve = jobs.client(jobs.token("admin", subject="eve"))
    key = named()
    ask("one", operation, headers=key)
    unnamed = {"Idempotency-Key": job_id(ask("one", operation))}
    made = jobs.jobs_made()
    for header in (key, unnamed):
        for client in (eve, jobs.admin):
            answer = ask("one", operation, headers=header, client=client, query="?expires=7s")
            assert "results" not in answer.text
            refused(answer, 409)
    refused(ask("one", operation, headers=key, client=eve), 409)
    assert jobs.jobs_made() == made
    assert gate.begun(name, "one") == 2


@pytest.mark.parametrize("operation", ["pass", "look"])
def test_of_two_callers_with_one_id_at_two_controllers_at_once_one_is_refused(
    jobs: Cluster, gate: Gate, ask: Ask, name: str, operation: str
) -> None:
    eve = jobs.client(jobs.token("admin", subject="eve"), str(jobs.others[0].base_url))
    callers = ((jobs.admin, "one"), (eve, "two")) * 2
    for number in range(1, 6):
        key = named()
        with ThreadPoolExecutor() as threads:
            asked = [
                threads.submit(ask, target, operation, headers=key, client=client)
                for client, target in callers
            ]
        answers = [each.result() for each in asked]
        codes = sorted(answer.status_code for answer in answers)
        assert codes[2:] == [409, 409]
        assert codes[0] == codes[1] < 300
        (results,) = {answer.text for answer in answers if answer.is_success}
        assert results.count('"hostname"') == 1
        begun = gate.begun(name, "one") + gate.begun(name, "two")
        assert begun == number or operation == "look"


@pytest.mark.parametrize("operation", ["pass", "look"])
def test_the_id_of_a_job_that_was_deleted_is_taken(
    jobs: Cluster, gate: Gate, ask: Ask, name: str, operation: str
) -> None:
    key = named()
    ids = [job_id(ask("one", operation, headers=key)), job_id(ask("one", operation))]
    for each in ids:
        assert jobs.admin.delete(f"/job/{each}").status_code == 204
    made = jobs.jobs_made()
    for each in ids:
        for client in (jobs.admin, jobs.others[0]):
            refused(ask("one", operation, headers={"Idempotency-Key": each}, client=client), 409)
        assert jobs.admin.get(f"/job/{each}").status_code == 404
    assert jobs.jobs_made() == made
    assert gate.begun(name, "one") == 2


def test_an_id_whose_time_is_far_from_now_makes_no_job(jobs: Cluster, ask: Ask) -> None:
    made = jobs.jobs_made()
    for seconds, words in ((-25 * 3600, "s ago"), (2 * 3600, "s ahead")):
        far = first_id(time.time() + seconds)
        assert words in refused(ask("one", headers={"Idempotency-Key": far}), 400)
    assert jobs.jobs_made() == made


def test_lists_and_the_journal_know_a_job_by_when_it_was_made(jobs: Cluster, ask: Ask) -> None:
    early = first_id(time.time() - 3600)[:15] + new_job_id()[15:]
    ask("one", headers={"Idempotency-Key": early})
    listed = jobs.admin.get("/job?since=60s&limit=100").json()["items"]
    assert early in {each["id"] for each in listed}


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(jobs: Cluster, ask: Ask, key: str) -> None:
    made = jobs.jobs_made()
    refused(ask("one", headers={"Idempotency-Key": key}), 400)
    assert jobs.jobs_made() == made
