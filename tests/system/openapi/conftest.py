"""The document that the shared fleet serves."""

from typing import Any

import pytest

from tests.testing.cluster import Cluster


@pytest.fixture(scope="package")
def api(fleet: Cluster) -> dict[str, Any]:
    """The document as it is served."""
    answer = fleet.anyone.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    document: dict[str, Any] = answer.json()
    return document
