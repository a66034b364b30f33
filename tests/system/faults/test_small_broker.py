"""A broker with little room for the journal."""

from pathlib import Path

from tests.testing.broker import Broker
from tests.testing.cluster import Cluster, NodePlan


def test_all_works_on_a_broker_with_little_room(tmp_path: Path) -> None:
    def small(directory: Path) -> Broker:
        return Broker(directory, storage="700MB")

    with Cluster(tmp_path, [NodePlan("one")], broker=small) as cluster:
        (result,) = cluster.admin.get("/node/one/load").json()["results"]
        assert result["status"] == "ok"
        assert "no room for the journal's size" in cluster.controller.stderr
