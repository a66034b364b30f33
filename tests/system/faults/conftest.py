"""Two nodes and two controllers, of which the tests take some away.

The second of each reaches the broker over a cable, on which tests do it harm.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.testing.cluster import Cluster, NodePlan
from tests.testing.gate import Gate
from tests.testing.passages import ONE, TWO
from tests.testing.process import wait_until
from tests.testing.relay import Cable


@pytest.fixture(scope="package")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds operations back."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="package")
def _wired(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Cable]]:
    with ExitStack() as parts:
        directory = tmp_path_factory.mktemp("faults")
        cluster = parts.enter_context(Cluster(directory, [NodePlan(ONE)], env=gate.env))
        cable = parts.enter_context(Cable(cluster.broker.port))
        cluster.add_node(NodePlan(TWO), nats=cable.relay.url)
        cluster.add_controller(nats=cable.relay.url)
        cluster.wait_here(ONE, TWO)
        yield cluster, cable


@pytest.fixture(scope="package")
def system(_wired: tuple[Cluster, Cable]) -> Cluster:
    """Two nodes and two controllers, shared by the tests of faults.

    Whatever a test takes away it brings back.
    """
    return _wired[0]


@pytest.fixture
def cable(_wired: tuple[Cluster, Cable]) -> Iterator[Cable]:
    """The cable of the second node and the second controller, whole after each test."""
    cluster, cable = _wired
    yield cable
    cable.heal()
    for user in [*cable.relay.barred, *cable.relay.muted]:
        cable.admit(user)
    for client in cluster.others:

        def connected(client: httpx.Client = client) -> bool:
            return "broker" not in str(client.get("/health/ready").json())

        wait_until(connected, what="the connections")


@pytest.fixture
def other(system: Cluster) -> httpx.Client:
    """A client of the second controller."""
    return system.others[0]


@pytest.fixture
def name(gate: Gate) -> Iterator[str]:
    """What nothing has passed under yet; whatever is held under it is let go with the test."""
    with gate.name() as name:
        yield name
