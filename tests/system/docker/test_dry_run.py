"""A dry run of a pull: from which digest, with which room, and nothing is pulled."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.testing.cluster import PULL, WEB_1, WEB_2, Cluster
from tests.testing.engine import Engine
from tests.testing.proxy import FaultyProxy
from tests.testing.registry import PushedImage, Registry


@pytest.fixture(scope="module")
def registry_proxy(registry: Registry) -> Iterator[FaultyProxy]:
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


def dry(cluster: Cluster, target: str, image: str, **more: Any) -> dict[str, dict[str, Any]]:
    """Return what is foreseen of each node, by hostname."""
    body = {"image": image, **more}
    answer = cluster.writer.post(f"/node/{target}/{PULL}?dry_run=true", json=body)
    assert answer.status_code == 200, answer.text
    return {each["hostname"]: each for each in answer.json()["results"]}


def test_nodes_say_what_a_pull_would_bring_and_pull_nothing(
    cluster: Cluster, registry: Registry, registry_proxy: FaultyProxy, image: PushedImage
) -> None:
    registry_proxy.requests.clear()
    reference = image.reference.replace(registry.host, registry_proxy.host)
    made = cluster.jobs_made()
    found = dry(cluster, "_all", reference)
    assert len(found) == 3
    for each in found.values():
        assert each["status"] == "would_run"
        plan = each["plan"]
        assert plan["digest"] == image.digest
        assert plan["changed"] is True
        assert "image_id" not in plan
        assert 0 < plan["kept"] < plan["free"]
    # One has asked for all, and none has pulled: an engine looks at the configuration at most.
    assert len([line for line in registry_proxy.requests if line.endswith("/manifests/1.0")]) == 1
    assert len([line for line in registry_proxy.requests if "/blobs/" in line]) <= 1
    assert cluster.jobs_made() == made


def test_what_is_there_would_not_change(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage, registry: Registry
) -> None:
    pulled = cluster.pull(WEB_1, image.reference).json()["results"][0]
    there, absent = (dry(cluster, "group:web", image.reference)[name] for name in (WEB_1, WEB_2))
    assert there["plan"]["changed"] is False
    assert there["plan"]["image_id"] == pulled["image_id"]
    assert there["plan"]["size"] == pulled["size"]
    assert absent["plan"]["changed"] is True
    left = dry(cluster, WEB_1, image.reference, policy="missing")[WEB_1]["plan"]
    assert (left["changed"], left["digest"]) == (False, image.digest)
    pinned = dry(cluster, "_any", image.by_digest)
    assert {each["status"] for each in pinned.values()} == {"could_run"}
    (plan,) = [each["plan"] for each in pinned.values() if "plan" in each]
    assert plan["digest"] == image.digest


def test_a_tag_that_can_t_be_resolved_is_said_to_be_so(
    cluster: Cluster, image: PushedImage
) -> None:
    found = dry(cluster, WEB_1, image.reference.replace(":1.0", ":missing"))[WEB_1]
    assert found["status"] == "would_run"
    assert "digest" not in found["plan"]
    assert "manifest unknown" in found["plan"]["unresolved"]
