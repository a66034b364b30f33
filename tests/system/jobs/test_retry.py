"""Jobs that are retried and deleted."""

from functools import partial

import httpx
import pytest

from tests.system.jobs.asking import NODES, Ask, job_id
from tests.testing.answers import refused, statuses
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.process import wait_until
from towline.client import Client, DryRun
from towline.endpoints.jobs import retry


def test_a_retry_is_for_the_nodes_that_failed(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    gate.hold(name)
    job = job_id(ask("group:gate", wait=0))
    wait_until(lambda: all(gate.begun(name, node) for node in NODES), what="all to be begun")
    jobs.agents["two"].kill()
    gate.open(name)
    wait_until(lambda: gate.passed(name, "one") == gate.passed(name, "three") == 1)
    gate.damage(name)
    jobs.agents["two"].start()
    assert statuses(jobs.ended(job)) == {"one": "ok", "two": "failed", "three": "ok"}

    gate.mend(name)
    answer = jobs.writer.post(f"/job/{job}/retry", headers={"Prefer": "wait=30"})
    assert answer.status_code == 201
    body = answer.json()
    assert body.keys() == {"job_id", "status", "timestamp"}
    assert answer.headers["Location"] == f"/job/{body['job_id']}"
    again = jobs.ended(body["job_id"])
    assert statuses(again) == {"two": "ok"}
    assert again["retry_of"] == job
    assert again["target"] == "group:gate"
    assert gate.begun(name, "one") == gate.begun(name, "three") == 1
    jobs.wait_here("two")


def test_a_dry_run_of_a_retry_says_where_it_would_be_done_again(
    jobs: Cluster, gate: Gate, ask: Ask, name: str
) -> None:
    gate.damage(f"{name}@two")
    job = job_id(ask("_all"))
    made = jobs.jobs_made()
    with Client(jobs.url, jobs.token("admin")) as client:
        again = client.call(retry, id=job, dry_run=True)
        assert isinstance(again, DryRun)
        assert [(each.hostname, each.status) for each in again.results] == [("two", "would_run")]
        elsewhere = client.call(retry, id=job, target_hostname="_all", dry_run=True)
        assert isinstance(elsewhere, DryRun)
        assert elsewhere.nodes == {"would_run": 3}
    eve = jobs.client(jobs.token("write", subject="eve"))
    refused(eve.post(f"/job/{job}/retry?dry_run=true"), 403)
    well = job_id(ask("one"))
    answer = jobs.writer.post(f"/job/{well}/retry?dry_run=true")
    assert answer.json() == jobs.writer.post(f"/job/{well}/retry").json()
    assert "failed nowhere" in refused(answer, 400)
    assert jobs.jobs_made() == made + 1
    assert gate.begun(name, "two") == 1


def test_a_retry_elsewhere_is_for_the_target_named(jobs: Cluster, gate: Gate, ask: Ask) -> None:
    job = job_id(ask("one"))
    assert "failed nowhere" in refused(jobs.writer.post(f"/job/{job}/retry"), 400)
    answer = jobs.writer.post(
        f"/job/{job}/retry", json={"target_hostname": "two"}, headers={"Prefer": "wait=30"}
    )
    assert answer.json()["status"] == "created"
    again = jobs.job(answer.json()["job_id"], wait=0)
    assert again["status"] == "completed"
    assert statuses(again) == {"two": "ok"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'{"target_hostname": 7}', "target_hostname"),
        (b'{"target_hostname": ""}', "target"),
        (b'{"target_hostname": "nobody"}', "nobody"),
        (b'{"target": "one"}', "target"),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused(
    jobs: Cluster, ask: Ask, body: bytes, says: str
) -> None:
    job = job_id(ask("one"))
    made = jobs.jobs_made()
    headers = {"Content-Type": "application/json"}
    answer = jobs.writer.post(f"/job/{job}/retry", content=body, headers=headers)
    refused(answer, 400)
    assert says in answer.text
    assert jobs.jobs_made() == made


def test_to_retry_takes_the_permission_to_do_it(jobs: Cluster, ask: Ask) -> None:
    job = job_id(ask("one", "once"))
    body = {"target_hostname": "one"}
    steering = jobs.client(jobs.token("read", permissions=["job:write"]))
    assert "gate:execute" in refused(steering.post(f"/job/{job}/retry", json=body), 403)
    own = jobs.client(jobs.token("read", permissions=["gate:execute"]))
    assert "job:write" in refused(own.post(f"/job/{job}/retry", json=body), 403)


def test_to_retry_or_delete_what_somebody_else_made_takes_job_admin(
    jobs: Cluster, ask: Ask
) -> None:
    job = job_id(ask("one", "once"))
    body = {"target_hostname": "one"}
    may = ["job:write", "gate:execute"]
    other = jobs.client(jobs.token(permissions=may, subject="other"))
    assert "job:admin" in refused(other.post(f"/job/{job}/retry", json=body), 403)
    assert "job:admin" in refused(other.delete(f"/job/{job}"), 403)
    admin = jobs.client(jobs.token(permissions=[*may, "job:admin"], subject="other"))
    assert admin.post(f"/job/{job}/retry", json=body).status_code == 201
    assert admin.delete(f"/job/{job}").status_code == 204


def test_a_deleted_job_is_gone_for_all_controllers_and_for_good(jobs: Cluster, ask: Ask) -> None:
    job, kept = job_id(ask("_all")), job_id(ask("one"))
    assert jobs.others[0].get(f"/job/{job}").status_code == 200
    answer = jobs.writer.delete(f"/job/{job}")
    assert (answer.status_code, answer.content) == (204, b"")
    for client in (jobs.admin, *jobs.others):
        wait_until(partial(is_gone, client, f"/job/{job}"), what="the job to be gone")
        assert client.get(f"/job/{kept}").status_code == 200
    refused(jobs.writer.delete(f"/job/{job}"), 404)
    assert jobs.broker.subjects("CHANGES", f"*.{job}") == {f"decision.{job}"}

    jobs.controller.stop()
    for path in (jobs.directory / "controller").glob("index.sqlite*"):
        path.unlink()
    jobs.controller.start()
    jobs.controller.wait_for_output("answers at")
    jobs.wait_here(*NODES)
    refused(jobs.admin.get(f"/job/{job}"), 404)
    assert jobs.admin.get(f"/job/{kept}").status_code == 200


def is_gone(client: httpx.Client, path: str) -> bool:
    return client.get(path).status_code == 404


def test_what_goes_on_is_not_deleted(jobs: Cluster, gate: Gate, ask: Ask, held: str) -> None:
    job = job_id(ask("one", wait=0))
    assert "cancel" in jobs.writer.delete(f"/job/{job}").json()["details"]
    refused(jobs.writer.delete(f"/job/{job}"), 400)
    refused(jobs.reader.delete(f"/job/{job}"), 403)
    gate.open(held)
    jobs.ended(job)
    assert jobs.writer.delete(f"/job/{job}").status_code == 204
