"""Two nodes and two controllers, of which the tests take some away."""

import itertools
from collections.abc import Iterator

import httpx
import pytest

from tests.testing.cluster import Cluster, NodePlan
from tests.testing.gate import Gate
from tests.testing.passages import ONE, TWO

_names = (f"fault{number}" for number in itertools.count())


@pytest.fixture(scope="package")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds operations back."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="package")
def system(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes and two controllers, shared by the tests of faults.

    Whatever a test takes away it brings back.
    """
    plans = [NodePlan(ONE), NodePlan(TWO)]
    with Cluster(tmp_path_factory.mktemp("faults"), plans, env=gate.env) as cluster:
        cluster.add_controller()
        yield cluster


@pytest.fixture
def other(system: Cluster) -> httpx.Client:
    """A client of the second controller."""
    return system.others[0]


@pytest.fixture
def name(gate: Gate) -> Iterator[str]:
    """What nothing has passed under yet; whatever is held under it is let go with the test."""
    name = next(_names)
    yield name
    for held in gate.directory.glob(f"{name}*.held"):
        held.unlink()
