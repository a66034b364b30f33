"""Requests that are generated from the OpenAPI document."""

import os
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.system.openapi.document import entries
from tests.testing.cluster import WEB_1, Cluster
from tests.testing.process import Process

LEFT_OUT = "^/(event|agent/.+/(un)?drain)$"
"""A stream never ends, and a drained node is of no use to the others."""
EXAMPLES = 60 if os.environ.get("TOWLINE_TEST_ALL") else 4
"""Requests at random for each route, beside those at the bounds of each parameter."""
CONFIGURATION = """\
[dictionaries.targets]
values = ["_all", "_any", "web-01", "group:web"]
[dictionaries.jobs]
values = ["{job}"]
[dictionaries.registries]
values = ["docker.io", "localhost:5000", "registry.internal"]
[parameters]
"path.hostname" = {{ dictionary = "targets", probability = 0.7 }}
"path.id" = {{ dictionary = "jobs", probability = 0.5 }}
"path.host" = {{ dictionary = "registries", probability = 0.7 }}
[generation]
deterministic = true
max-examples = {examples}
[[operations]]
include-path-regex = '{left_out}'
enabled = false
[checks]
# A node that failed is a 500, and a target that no node carries a 400: both are documented.
not_a_server_error.enabled = false
positive_data_acceptance.enabled = false
# A revoked token is shown as revoked until it would have expired.
use_after_free.enabled = false
"""


def check_generated(
    cluster: Cluster, api: dict[str, Any], directory: Path, only: Collection[str] = ()
) -> None:
    """Send requests made from the document, good and bad, to all that is in it.

    Args:
        only: the paths to which any are sent; all where it is empty.
    """
    left_out = rf"^(?!({'|'.join(map(re.escape, only))})$)" if only else LEFT_OUT
    job = cluster.admin.get(f"/node/{WEB_1}/load").json()["job_id"]
    configuration = directory / "schemathesis.toml"
    configuration.write_text(CONFIGURATION.format(job=job, left_out=left_out, examples=EXAMPLES))
    process = Process(
        "schemathesis",
        [
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", configuration, "run", f"{cluster.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {cluster.token('admin')}"),
        ],
        logs=directory,
        cwd=directory,
    )
    with process:
        status = process.wait(timeout=300)
    assert status == 0, process.tail(200)
    # An error of our own is a 500 too, and that is documented.
    assert "request broke off" not in cluster.controller.stderr
    tried = [path for path, _, _ in entries(api) if not re.search(left_out, path)]
    assert re.search(rf"Tested: +{len(tried)}\b", process.stdout)
