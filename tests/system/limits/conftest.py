"""A controller that allows less than it does otherwise, so that tests come to its limits soon."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.cluster import PULL, WEB_1, Cluster, NodePlan
from tests.testing.gate import Gate

CONNECTIONS, REQUESTS, STREAMS = 300, 5, 20
"""What an address and a caller may have."""
FILES = 600
"""Open files of a controller that may have few: more than twice as many as it needs itself."""


def pull(token: str) -> bytes:
    """Return the head of a pull whose body is 1,000 bytes."""
    return (
        f"POST /node/{WEB_1}/{PULL} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: 1000\r\n\r\n"
    ).encode()


@pytest.fixture(scope="package")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds back what the node of `guarded` does."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="package")
def guarded(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Cluster]:
    """One node, and a controller with low limits."""
    env = {
        **gate.env,
        "TOWLINE_MAX_CONNECTIONS_PER_ADDRESS": str(CONNECTIONS),
        "TOWLINE_MAX_REQUESTS_PER_CALLER": str(REQUESTS),
        "TOWLINE_MAX_STREAMS_PER_CALLER": str(STREAMS),
        "TOWLINE_TRUSTED_PROXIES": "127.0.0.3, 127.0.4.0/24",
    }
    directory = tmp_path_factory.mktemp("guarded")
    with Cluster(directory, [NodePlan(WEB_1)], env) as cluster:
        yield cluster


@pytest.fixture
def few_files(tmp_path: Path) -> Iterator[Cluster]:
    """One node, and a controller that may have few files open."""
    with Cluster(tmp_path, [NodePlan(WEB_1)]) as cluster:
        controller = cluster.controller
        controller.stop()
        limited = f'ulimit -n {FILES}; exec "$@"'
        controller.command = ["sh", "-c", limited, "sh", *controller.command]
        controller.start()
        controller.wait_for_output("answers at")
        cluster.wait_here(WEB_1)
        yield cluster
