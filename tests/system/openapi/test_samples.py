"""The commands that the OpenAPI document shows do what it says of them."""

from pathlib import Path
from typing import Any

from tests.system.openapi.document import entries
from tests.system.openapi.samples import run
from tests.testing.cluster import Cluster


def test_every_command_can_be_copied_and_run(
    fleet: Cluster, api: dict[str, Any], tmp_path: Path
) -> None:
    for path, _, entry in entries(api):
        # It has expired: so it can be retried, and deleted.
        job = fleet.admin.get("/node/_any/load?expires=0s").headers["Location"]
        # It never ends: its head will do.
        more = " --head --request GET" if path == "/event" else ""
        run(fleet, entry, tmp_path, job=job, more=more)
