"""Where operations of the surface are asked."""

from collections.abc import Iterator

import pytest

from tests.system.surface.requests import Place
from tests.testing.cluster import WEB_1, Cluster
from tests.testing.registry import PushedImage


@pytest.fixture
def place(cluster: Cluster, image: PushedImage) -> Iterator[Place]:
    """Three nodes with engines, and an image; none is drained afterwards."""
    yield Place(cluster, image)
    cluster.admin.post(f"/agent/{WEB_1}/undrain")
