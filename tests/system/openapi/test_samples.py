"""The commands that the OpenAPI document shows do what it says of them."""

import os
import subprocess
from typing import Any

from tests.system.openapi.document import entries
from tests.testing.cluster import Cluster

REFUSED = {"400", "401", "403", "405", "413", "415", "500"}
"""A command that is answered with one of these isn't as the operation needs it."""

OPTIONS = " --output /dev/null --write-out '%{http_code}' --max-time 60"


def test_every_command_can_be_copied_and_run(fleet: Cluster, api: dict[str, Any]) -> None:
    environment = {**os.environ, "TOWLINE_URL": fleet.url, "TOWLINE_TOKEN": fleet.token("admin")}
    for path, method, entry in entries(api):
        (sample,) = entry["x-codeSamples"]
        assert (sample["lang"], sample["label"]) == ("Shell", "curl")
        # It has expired: so it can be retried, and deleted.
        job = fleet.admin.get("/node/_any/load?expires=0s").headers["Location"]
        command = sample["source"].replace("/job/ID", job) + OPTIONS
        if path == "/event":
            # It never ends: its head will do.
            command += " --head --request GET"
        ran = subprocess.run(
            ["sh", "-c", command], env=environment, capture_output=True, text=True, check=False
        )
        assert ran.stdout in entry["responses"].keys() - REFUSED, (method, path, ran)
