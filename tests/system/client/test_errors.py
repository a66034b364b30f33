"""What clients raise, against real controllers."""

from collections.abc import Sequence

import pytest

from tests.testing.clients import failures
from tests.testing.cluster import Cluster
from tests.testing.engine import Engine
from tests.testing.engine_api import pull_errors
from tests.testing.registry import Registry
from towline.client import ApiError, AsyncClient, Client


def test_a_token_that_is_refused_is_raised(fleet: Cluster) -> None:
    error = failures(fleet.url, "x.y.z")
    assert (error.status, error.job_id) == (401, None)
    assert "token" in error.error
    assert "x.y.z" not in str(error)


def test_a_permission_that_is_missing_is_raised(fleet: Cluster) -> None:
    error = failures(fleet.url, fleet.token("read"))
    assert (error.status, error.job_id) == (403, None)
    assert "docker:write" in error.error


@pytest.mark.parametrize("on", ["nobody", "group:nobody", "_none", "a b", "a/b", "..", "a" * 300])
def test_a_target_that_means_no_node_is_raised(fleet: Cluster, on: str) -> None:
    before = fleet.jobs_made()
    error = failures(fleet.url, fleet.token("write"), on=on)
    assert (error.status, error.job_id) == (400, None)
    assert on[:20] in str(error)
    assert fleet.jobs_made() == before


def test_a_single_node_that_fails_is_raised_in_the_engines_words(
    cluster: Cluster, engines: Sequence[Engine], registry: Registry
) -> None:
    reference = registry.reference("client/missing", "1.0")
    token = cluster.token("write")
    error = failures(cluster.url, token, image=reference)
    assert error.status == 500
    (words,) = pull_errors(engines[0].pull(reference))
    assert words in error.details
    assert error.job_id is not None
    with Client(cluster.url, token) as client:
        job = client.job(error.job_id)
    assert job.status == "failed"
    assert words in (job.results[0].error or "")


@pytest.mark.parametrize(
    ("job_id", "status"), [("550e8400-e29b-41d4-a716-446655440000", 404), ("../agent", 400)]
)
async def test_a_job_that_is_not_there_is_raised(
    fleet: Cluster, client: Client, job_id: str, status: int
) -> None:
    with pytest.raises(ApiError) as raised:
        client.job(job_id)
    assert raised.value.status == status
    async with AsyncClient(fleet.url, fleet.token("admin")) as other:
        with pytest.raises(ApiError) as raised:
            await other.job(job_id)
    assert raised.value.status == status
