"""Requests that are generated from the OpenAPI document are answered as it says."""

from pathlib import Path
from typing import Any

from tests.system.openapi.generated import check_generated
from tests.testing.cluster import Cluster


def test_generated_requests_are_answered_as_documented(
    fleet: Cluster, api: dict[str, Any], tmp_path: Path
) -> None:
    check_generated(fleet, api, tmp_path)
