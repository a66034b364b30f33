"""Requests that are generated from the OpenAPI document are answered as it says."""

import re
from pathlib import Path

from tests.system.openapi.generated import generated
from tests.testing.cluster import Cluster


def test_generated_requests_are_answered_as_documented(fleet: Cluster, tmp_path: Path) -> None:
    assert re.search(r"Tested: +43\b", generated(fleet, tmp_path))
