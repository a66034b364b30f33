"""Sets of one test, on the fleet that all share."""

from collections.abc import Iterator
from typing import Any, Protocol

import httpx
import pytest

from tests.testing.cluster import Cluster


class Declare(Protocol):
    def __call__(
        self,
        name: str = "web",
        *,
        by: httpx.Client | None = None,
        headers: dict[str, str] | None = None,
        dry_run: bool = False,
        **body: Any,
    ) -> httpx.Response: ...


@pytest.fixture
def declare(fleet: Cluster) -> Iterator[Declare]:
    """Declare a set, of nginx on `group:web` unless something else is said; gone in the end."""

    def declared(
        name: str = "web",
        *,
        by: httpx.Client | None = None,
        headers: dict[str, str] | None = None,
        dry_run: bool = False,
        **body: Any,
    ) -> httpx.Response:
        asked = {"target": "group:web", "images": ["nginx:1.27"]} | body
        params = {"dry_run": "true"} if dry_run else {}
        return (by or fleet.admin).put(f"/set/{name}", json=asked, headers=headers, params=params)

    yield declared
    for each in fleet.admin.get("/set").raise_for_status().json()["sets"]:
        fleet.admin.delete(f"/set/{each['name']}").raise_for_status()
