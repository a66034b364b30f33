"""A node whose machine people have written something down about."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.cluster import Cluster, NodePlan

FACTS = {"rack": "r12", "site": {"city": "Oslo", "floors": [1, 2]}}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node, `one`, with custom facts; a test that stops it starts it again."""
    directory = tmp_path_factory.mktemp("one")
    (directory / "facts.d").mkdir()
    (directory / "facts.d" / "place.json").write_text(json.dumps(FACTS))
    (directory / "facts.d" / "broken.json").write_text("{")
    env = {"TOWLINE_FACTS": str(directory / "facts.d")}
    with Cluster(directory, [NodePlan("one", labels=("group:web",))], env) as cluster:
        yield cluster


@pytest.fixture
def facts_directory(one: Cluster) -> Path:
    """Where the custom facts of the node stand."""
    return one.directory / "facts.d"
