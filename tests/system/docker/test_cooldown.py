"""Registries that have had too many requests: the whole fleet leaves one alone, and comes back."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.testing.cluster import WEB_1, WEB_2, Cluster
from tests.testing.process import wait_until
from tests.testing.proxy import Answer, FaultyProxy
from tests.testing.registry import PushedImage, Registry
from towline.agent.docker.pull.steps import COOLDOWN

BODY = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]}).encode()


@pytest.fixture
def busy(registry: Registry) -> Iterator[FaultyProxy]:
    """A registry of its own name, before which a proxy stands."""
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


def events(job: dict[str, Any], kind: str) -> list[str]:
    field = "reason" if kind == COOLDOWN else "message"
    return [each[field] for each in job["timeline"] if each["event"] == kind]


def test_a_registry_that_has_had_too_many_requests_is_asked_by_no_node_until_it_may(
    cluster: Cluster, busy: FaultyProxy, registry: Registry, image: PushedImage
) -> None:
    """For as long as its `Retry-After` says, which no engine passes on."""
    reference = image.reference.replace(registry.host, busy.host)
    busy.fault = Answer(match="/manifests/", status=429, body=BODY, retry_after="3")
    first = cluster.pull(WEB_1, reference, prefer="respond-async").json()["job_id"]
    wait_until(lambda: events(cluster.job(first, wait=0), COOLDOWN) != [], what="a cooldown")
    (shown, *_) = events(cluster.job(first, wait=0), COOLDOWN)
    assert shown.startswith(f"{busy.host} rests until ")
    assert f"{WEB_1} was told " in shown
    busy.requests.clear()
    busy.fault = None
    second = cluster.pull(WEB_2, reference, prefer="respond-async").json()["job_id"]
    wait_until(lambda: events(cluster.job(second, wait=0), COOLDOWN) != [], what="a cooldown")
    (waiting,) = cluster.job(second, wait=0)["results"]
    assert (waiting["status"], waiting["waits"]) == ("running", "registry")
    assert waiting["reason"].startswith(f"{busy.host} rests until ")
    assert "error" not in waiting
    assert not any("/manifests/1.0" in line and "GET" in line for line in busy.requests)
    for job_id in (first, second):
        job = cluster.ended(job_id)
        assert job["status"] == "completed"
        assert "waits" not in job["results"][0]
        assert job["timeline"][-2]["event"] in ("dequeued", "attempt", "started")
    (words,) = events(cluster.job(first), "attempt")
    assert words.startswith("attempt 1 of 5 failed: ")
    assert "(the registry is busy; tried again in " in words


def test_a_pull_that_is_not_to_be_tried_again_fails_with_the_registry_s_words(
    cluster: Cluster, busy: FaultyProxy, registry: Registry, image: PushedImage
) -> None:
    reference = image.reference.replace(registry.host, busy.host)
    busy.fault = Answer(match="/manifests/", status=429, body=BODY)
    answer = cluster.writer.post(
        f"/node/{WEB_1}/container/docker/pull", json={"image": reference, "retries": 0}
    )
    assert answer.status_code == 500
    job = cluster.job(answer.headers["Location"].removeprefix("/job/"))
    (words,) = events(job, "attempt")
    (result,) = job["results"]
    assert (
        words
        == f"attempt 1 of 1 failed: {result['error']} (the registry is busy; it is not tried again)"
    )
