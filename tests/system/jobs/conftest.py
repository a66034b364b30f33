"""Three nodes and two controllers for the tests of jobs, with gates that hold operations back."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.system.jobs.asking import NODES, Ask
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.gate import Gate

_names = (f"name{number}" for number in itertools.count())


@pytest.fixture(scope="package")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """What holds operations back."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="package")
def jobs(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes and a second controller, shared by the tests of jobs.

    Whatever a test takes away it brings back.
    """
    plans = [NodePlan(name, labels=("group:gate",)) for name in NODES]
    with Cluster(tmp_path_factory.mktemp("jobs"), plans, env=gate.env) as cluster:
        cluster.add_controller()
        yield cluster


@pytest.fixture
def name() -> str:
    """What nothing has passed under yet."""
    return next(_names)


@pytest.fixture
def ask(jobs: Cluster, name: str) -> Ask:
    """Ask for a passage under this test's name."""

    def ask(target: str, operation: str = "pass", *, wait: int = 30, **more: Any) -> httpx.Response:
        headers = {"Prefer": f"wait={wait}", **more.pop("headers", {})}
        body = {"name": name, **more.pop("body", {})}
        query = more.pop("query", "")
        client = more.pop("client", jobs.admin)
        answer: httpx.Response
        if operation == "look":
            url = f"/node/{target}/gate?name={name}{query.replace('?', '&')}"
            answer = client.get(url, headers=headers)
        else:
            url = f"/node/{target}/gate/{operation}{query}"
            answer = client.post(url, json=body, headers=headers)
        return answer

    return ask


@pytest.fixture
def held(gate: Gate, name: str) -> Iterator[str]:
    """The name, held back until the test ends or opens it."""
    gate.hold(name)
    yield name
    gate.open(name)
