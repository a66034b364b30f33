"""A journal that is full: it refuses, forgets nothing, and what it has accepted still ends."""

from collections.abc import Iterator
from pathlib import Path

import nats.js.errors
import pytest

from tests.testing.answers import refused
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.gate import Gate
from tests.testing.passages import ONE, ask, counts, end, hold, let_go

MIB = 1024**2


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    (tmp_path / "gate").mkdir()
    return Gate(tmp_path / "gate")


@pytest.fixture
def cluster(gate: Gate, tmp_path: Path) -> Iterator[Cluster]:
    env = {**gate.env, "TOWLINE_RETENTION_SIZE": "32MiB"}
    with Cluster(tmp_path, [NodePlan(ONE)], env=env) as cluster:
        yield cluster


def fill(cluster: Cluster) -> None:
    """Fill the changes with groups of no reports, until not even a small one finds room."""
    size = 2 * MIB
    while size:
        try:
            cluster.broker.publish("report", b"[" + b" " * size + b"]")
        except nats.js.errors.APIError:
            size //= 2


def test_a_full_journal_refuses_jobs_and_what_it_has_accepted_ends_when_there_is_room(
    cluster: Cluster, gate: Gate
) -> None:
    # Its body stands in the journal, and its node is none that has files of such names.
    large = ask(cluster.admin, ONE, "pass", "x" * 300_000).json()["job_id"]
    assert cluster.ended(large)["status"] == "failed"
    hold(gate, "held")
    held = ask(cluster.admin, ONE, "once", "held").json()["job_id"]
    fill(cluster)
    assert "The journal is full" in refused(ask(cluster.admin, ONE, "once", "new"), 500)
    let_go(gate, "held")
    assert cluster.job(held, wait=1)["status"] != "failed"
    assert cluster.admin.delete(f"/job/{large}").is_success
    assert end(cluster, held) == ("ok", None)
    assert counts(gate, "held", "once") == (1, 1)
    assert end(cluster, ask(cluster.admin, ONE, "once", "new").json()["job_id"]) == ("ok", None)
    assert counts(gate, "new", "once") == (1, 1)
    cluster.admin.get(f"/job/{held}").raise_for_status()
