"""The commands that the OpenAPI document shows, run as they are."""

import os
import subprocess
from pathlib import Path
from typing import Any

from tests.testing.cluster import Cluster

REFUSED = {"400", "401", "403", "405", "413", "415", "500"}
"""A command that is answered with one of these isn't as the operation needs it."""

NO_INVITE = "/invite/0123456789abcdef"
OPTIONS = " --output /dev/null --write-out '%{http_code}' --max-time 60"


def run(
    cluster: Cluster,
    entry: dict[str, Any],
    where: Path,
    *,
    job: str = "",
    audited: str = "",
    more: str = "",
) -> None:
    """Run an entry's command, and check that it is answered as the entry says.

    Args:
        where: the directory that it runs in.
        job: the place of the job that it is about.
        audited: the place of the entry of the audit that it is about.
        more: further options of curl.
    """
    (sample,) = entry["x-codeSamples"]
    assert (sample["lang"], sample["label"]) == ("Shell", "curl")
    command = sample["source"] + OPTIONS + more
    for shown, place in (("/job/ID", job), ("/audit/ID", audited), ("/invite/ID", NO_INVITE)):
        command = command.replace(shown, place)
    environment = {
        **os.environ,
        "TOWLINE_URL": cluster.url,
        "TOWLINE_TOKEN": cluster.token("admin"),
    }
    ran = subprocess.run(
        ["sh", "-c", command],
        env=environment,
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout in entry["responses"].keys() - REFUSED, (command, ran)
