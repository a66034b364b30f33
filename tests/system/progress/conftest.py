"""Two nodes and two controllers, with gates that report progress while they are shut."""

import itertools
from collections.abc import Iterator

import pytest

from tests.system.progress.pictures import NODES
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.gate import Gate

_names = (f"name{number}" for number in itertools.count())


@pytest.fixture(scope="package")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds operations back, and lets them report how far they are."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="package")
def pair(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes and a second controller, shared by the tests of progress.

    Whatever a test takes away it brings back.
    """
    plans = [NodePlan(name) for name in NODES]
    with Cluster(tmp_path_factory.mktemp("progress"), plans, env=gate.env) as cluster:
        cluster.add_controller()
        yield cluster


@pytest.fixture
def held(gate: Gate) -> Iterator[str]:
    """A name, held back until the test ends or opens it."""
    name = next(_names)
    gate.hold(name)
    yield name
    gate.open(name)
