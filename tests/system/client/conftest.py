"""A client of real controllers."""

from collections.abc import Iterator

import pytest

from tests.testing.cluster import Cluster
from towline.client import Client


@pytest.fixture
def client(fleet: Cluster) -> Iterator[Client]:
    """A client of the nodes without an engine."""
    with Client(fleet.url, fleet.token("admin")) as client:
        yield client
