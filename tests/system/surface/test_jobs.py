"""What clients rely on of jobs, beside their fields and types."""

from typing import Any

import pytest

from tests.system.surface.facts import OPERATIONS, holds
from tests.system.surface.requests import Place
from tests.testing.cluster import LABELS, WEB_1, Cluster
from tests.testing.marks import ONE_KIND


def seen(cluster: Cluster, job_id: str) -> dict[str, Any]:
    """Return a job that has ended, once its fields are checked."""
    job = cluster.ended(job_id)
    schema = OPERATIONS["GET /job/{id}"].answer
    assert schema is not None
    holds(schema, job)
    (listed,) = (each for each in cluster.admin.get("/job").json()["items"] if each["id"] == job_id)
    assert listed == job
    return job


@ONE_KIND
def test_a_job_says_what_it_has_changed_and_how_long_each_node_took(place: Place) -> None:
    for changed in (True, False):
        answer = place.cluster.pull("_all", place.image.reference)
        job = seen(place.cluster, answer.json()["job_id"])
        assert job["changed"] is changed
        assert {name: state["status"] for name, state in job["agent_states"].items()} == (
            dict.fromkeys(LABELS, "completed")
        )
        assert all(float(state["duration"][:-1]) > 0 for state in job["agent_states"].values())
        assert {name: each["changed"] for name, each in job["responses"].items()} == (
            dict.fromkeys(LABELS, changed)
        )


@pytest.mark.parametrize("target", ["_all", "_any", WEB_1])
def test_what_only_reads_has_changed_nothing(fleet: Cluster, target: str) -> None:
    answer = fleet.admin.get(f"/node/{target}/load")
    assert {result["changed"] for result in answer.json()["results"]} == {False}
    job = seen(fleet, answer.json()["job_id"])
    assert job["changed"] is False
    assert all(state["duration"] for state in job["agent_states"].values())
    if target != "_all":
        assert job["hostname"] in LABELS
        assert job["result"]["changed"] is False


@ONE_KIND
def test_a_job_that_failed_says_why_and_can_be_retried(place: Place) -> None:
    cluster = place.cluster
    answer = cluster.pull(WEB_1, f"{place.image.repository}:none", retries=0)
    assert answer.status_code == 500
    job = seen(cluster, answer.headers["Location"].rpartition("/")[2])
    (state,) = job["agent_states"].values()
    assert state["status"] == job["status"] == "failed"
    assert state["error"] in job["error"]
    assert state["error"] in answer.json()["error"]
    assert "changed" not in job

    for prefer in ({}, {"Prefer": "wait=30"}):
        again = cluster.admin.post(f"/job/{job['id']}/retry", headers=prefer)
        assert (again.status_code, again.json()["status"]) == (201, "created")
        assert seen(cluster, again.json()["job_id"])["operation"] == job["operation"]
