"""Dry runs of pulls from a registry that wants credentials: what is kept is used, and not told."""

from collections.abc import Iterator, Sequence

import pytest

from tests.testing.cluster import WEB_1, Cluster, NodePlan
from tests.testing.engine import Engine
from tests.testing.marks import ONE_KIND
from tests.testing.registry import PASSWORD, USER, Registry
from towline.client import Client, Credential
from towline.endpoints.dry_run import DryRunResult
from towline.operations import docker

WRONG = "wr0ng"


@pytest.fixture
def private() -> Iterator[Registry]:
    """A registry that wants USER and PASSWORD."""
    with Registry(authenticated=True) as registry:
        yield registry


@ONE_KIND
def test_a_dry_run_logs_in_with_what_is_kept_and_not_with_what_is_brought(
    private: Registry, engines: Sequence[Engine], tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = private.push_image("private/dry", "1.0")
    plans = [NodePlan(WEB_1, engines[0].url)]
    with (
        Cluster(tmp_path_factory.mktemp("dry"), plans) as cluster,
        Client(cluster.url, cluster.token("admin")) as client,
    ):

        def foreseen(client: Client, on: str = WEB_1) -> DryRunResult:
            found = client.dry_run(docker.pull, on, image=image.reference)
            assert PASSWORD not in repr(found)
            assert WRONG not in repr(found)
            return found.results[0]

        def plan(client: Client) -> dict[str, object]:
            return foreseen(client).plan or {}

        brought = client.with_options(credential=Credential(USER, PASSWORD))
        for asking in (client, brought):
            assert "no credential is kept" in str(plan(asking)["unresolved"])
        client.set_registry(private.host, username=USER, password=WRONG)
        assert f"refused the user {USER!r}" in str(plan(client)["unresolved"])
        client.set_registry(private.host, username=USER, password=PASSWORD)
        assert plan(client)["digest"] == image.digest
        assert foreseen(client, "_any").status == "could_run"
        # What was brought is not kept either.
        assert cluster.broker.subjects("KV_credentials", "$KV.credentials.job.*") == set()
