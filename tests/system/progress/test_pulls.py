"""How far pulls are, by what engines of both kinds report."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.system.progress.pictures import snapshot
from tests.testing.answers import results
from tests.testing.cluster import DB_1, WEB_1, WEB_2, Cluster
from tests.testing.engine import Engine
from tests.testing.process import wait_until
from tests.testing.proxy import FaultyProxy, Freeze
from tests.testing.registry import Registry, random_layer
from towline.client import Client, Progress
from towline.operations import docker
from towline.wire.progress import DOWNLOADING

LARGE = 6_000_000
FROZEN_AT = 3_000_000


@pytest.fixture(scope="module")
def slow(registry: Registry) -> Iterator[FaultyProxy]:
    """What stands before the registry and can stop in mid-blob."""
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


def begun(cluster: Cluster, reference: str) -> str:
    """Ask all nodes for a pull, and return its job's id."""
    answer = cluster.pull("_all", reference, prefer="respond-async")
    results(answer)
    return str(answer.json()["job_id"])


def test_a_pull_reports_its_layers_on_every_node(
    cluster: Cluster, engines: Sequence[Engine], registry: Registry, slow: FaultyProxy
) -> None:
    kind = engines[0].kind
    layers = [random_layer(f"{kind} small"), random_layer(f"{kind} large", LARGE)]
    image = registry.push_image(f"progress/{kind}", "1", layers)
    reference = image.reference.replace(registry.host, slow.host)
    slow.fault = Freeze(match=f"blobs/{image.layer_digests[1]}", after=FROZEN_AT)
    job = begun(cluster, reference)

    def frozen(node: dict[str, Any]) -> bool:
        return any(
            layer["state"] == DOWNLOADING
            and layer["size"] > LARGE
            # The classic engine reports the bytes a little late.
            and 0 < layer["fetched"] <= FROZEN_AT
            for layer in node.get("layers", [])
        )

    def all_frozen() -> bool:
        picture = snapshot(cluster.reader, job)
        return len(picture["nodes"]) == 3 and all(frozen(node) for node in picture["nodes"])

    wait_until(all_frozen, what="every node to be in the midst of the large layer")
    seen: list[Progress] = []
    with Client(cluster.url, cluster.token("read")) as client:
        for picture in client.progress(job):
            seen.append(picture)
            if picture.total.nodes == {"running": 3}:
                slow.fault = None
    # Who comes late sees at once how far each node is.
    assert sorted(node.hostname for node in seen[0].nodes.values()) == sorted([WEB_1, WEB_2, DB_1])
    assert all(len(node.parts) == 2 for node in seen[0].nodes.values())
    assert 0 < seen[0].total.complete < 1
    assert seen[-1].done
    assert {node.status for node in seen[-1].nodes.values()} == {"ok"}
    assert seen[-1].total.complete == 1


def test_tasks_that_share_a_pull_each_report_it(
    cluster: Cluster, engines: Sequence[Engine], registry: Registry, slow: FaultyProxy
) -> None:
    kind = engines[0].kind
    image = registry.push_image(
        f"progress/shared-{kind}", "1", [random_layer(f"{kind} shared", LARGE)]
    )
    # By digest: who comes later joins what is under way.
    reference = image.by_digest.replace(registry.host, slow.host)
    slow.fault = Freeze(match=f"blobs/{image.layer_digests[0]}", after=FROZEN_AT)
    with Client(cluster.url, cluster.token("write")) as client:
        asked = client.with_options(wait=0)
        jobs = [asked.run(docker.pull, WEB_1, image=reference) for _ in range(2)]
        for job in jobs:
            assert any(picture.total.fetched > 0 for picture in job.progress())
        slow.fault = None
        for job in jobs:
            assert job.wait().succeeded
    pulls = [line for line in slow.requests if image.layer_digests[0] in line]
    assert len([line for line in pulls if line.startswith("GET")]) == 1
