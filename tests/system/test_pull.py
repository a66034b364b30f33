"""The pull, from the HTTP request to the engine and back, on both kinds of engine."""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from tests.parts.cluster import Cluster
from tests.parts.engine import Engine
from tests.parts.registry import PushedImage, Registry, random_layer
from tests.system.conftest import WEB_1


@pytest.fixture
def image(registry: Registry, request: pytest.FixtureRequest) -> PushedImage:
    """An image that no engine has seen."""
    name = request.node.name.lower().replace("[", "-").rstrip("]")[-60:]
    return registry.push_image(f"pull/{name}", "1.0", [random_layer(request.node.name)])


def results(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    """Return the results of an accepted pull by hostname."""
    assert answer.status_code == 202, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert answer.headers["Location"] == f"/job/{body['job_id']}"
    by_name = {result["hostname"]: result for result in body["results"]}
    assert len(by_name) == len(body["results"])
    return by_name


def test_a_pull_tells_exactly_what_the_engine_now_has(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage
) -> None:
    answer = cluster.pull(WEB_1, image.reference)

    on_node = engines[0].image(image.reference)
    assert on_node is not None
    assert results(answer) == {
        WEB_1: {
            "hostname": WEB_1,
            "status": "ok",
            "image_id": on_node["Id"],
            "tag": "1.0",
            "size": on_node["Size"],
            "digest": image.digest,
            "changed": True,
        }
    }


def test_a_second_pull_of_the_same_image_changes_nothing(
    cluster: Cluster, image: PushedImage
) -> None:
    first = results(cluster.pull(WEB_1, image.reference))[WEB_1]
    second = results(cluster.pull(WEB_1, image.reference))[WEB_1]
    assert second == {**first, "changed": False}


def test_a_tag_that_moved_is_a_change_with_another_id(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage, registry: Registry
) -> None:
    first = results(cluster.pull(WEB_1, image.reference))[WEB_1]
    registry.push_image(image.repository, "1.0", [random_layer(f"moved {image.repository}")])
    second = results(cluster.pull(WEB_1, image.reference))[WEB_1]
    assert second["changed"] is True
    assert second["image_id"] != first["image_id"]
    assert second["image_id"] == engines[0].image_id(image.reference)
