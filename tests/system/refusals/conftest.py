"""No request of these tests makes a job."""

from collections.abc import Iterator

import pytest

from tests.testing.cluster import Cluster


@pytest.fixture(autouse=True)
def no_job_made(fleet: Cluster) -> Iterator[None]:
    """No request of a test makes a job, and the controller answers afterwards."""
    before = fleet.jobs_made()
    yield
    assert fleet.jobs_made() == before
    assert fleet.anyone.get("/health").status_code == 200
