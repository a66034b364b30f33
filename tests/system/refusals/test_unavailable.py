"""Pulls that fail because no node or no broker is there."""

import pytest

from tests.system.refusals.requests import IMAGE
from tests.testing.answers import error_body, refused
from tests.testing.cluster import WEB_1, Cluster, NodePlan


def test_without_any_node_a_pull_is_500(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Cluster(tmp_path_factory.mktemp("nobody"), []) as nobody:
        for target in ("web-01", "_any", "_all", "group:web"):
            answer = nobody.pull(target, IMAGE["image"])
            assert "node" in refused(answer, 500)
        assert nobody.jobs_made() == 0
        ready = nobody.anyone.get("/health/ready")
        assert ready.status_code == 503


def test_without_the_broker_a_pull_is_500_and_it_recovers(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Cluster(tmp_path_factory.mktemp("cut-off"), [NodePlan(WEB_1)]) as cluster:
        assert cluster.pull(WEB_1, IMAGE["image"]).json()["results"][0]["status"] == "skipped"
        cluster.broker.stop()
        answer = cluster.pull(WEB_1, IMAGE["image"])
        assert answer.status_code == 500
        assert "broker" in error_body(answer.content, 500)
        assert answer.headers["Location"].startswith("/job/")
        assert answer.headers["Retry-After"] == "1"
        assert cluster.anyone.get("/health").status_code == 200
        assert cluster.anyone.get("/health/ready").status_code == 503

        cluster.broker.start()
        cluster.wait_here(WEB_1)
        answer = cluster.pull(WEB_1, IMAGE["image"])
        assert answer.json()["results"][0]["status"] == "skipped"
