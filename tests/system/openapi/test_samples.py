"""The commands that the OpenAPI document shows do what it says of them."""

from pathlib import Path
from typing import Any

from tests.system.openapi.document import entries
from tests.system.openapi.samples import run
from tests.testing.cluster import Cluster
from tests.testing.process import wait_until


def test_every_command_can_be_copied_and_run(
    fleet: Cluster, api: dict[str, Any], tmp_path: Path
) -> None:
    fleet.admin.post("/token", json={"roles": ["read"], "expires": "1m"})

    def last() -> list[str]:
        return [each["id"] for each in fleet.admin.get("/audit?limit=1").json()["items"]]

    wait_until(lambda: bool(last()), what="an entry of the audit")
    audited = f"/audit/{last()[0]}"
    for path, method, entry in entries(api):
        if (path, method) in (("/join", "post"), ("/agent/renew", "post")):
            continue  # what an agent has sealed nobody writes by hand
        # It has expired: so it can be retried, and deleted.
        job = fleet.admin.get("/node/_any/load?expires=0s").headers["Location"]
        # It never ends: its head will do.
        more = " --head --request GET" if path == "/event" else ""
        run(fleet, entry, tmp_path, job=job, audited=audited, more=more)
