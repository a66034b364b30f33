"""A client that is generated from the OpenAPI document talks to a controller."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testing.cluster import LABELS, WEB_1, Cluster
from tests.testing.process import Process

NAME = "generated_client"
CONFIGURATION = """\
# Nobody reads the code: it need not be formatted.
post_hooks: []
"""


@pytest.fixture(scope="module", autouse=True)
def _generated(fleet: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package of the client, made from the document as it is served; a warning fails."""
    directory = tmp_path_factory.mktemp("client")
    configuration = directory / "configuration.yaml"
    configuration.write_text(CONFIGURATION)
    generator = Process(
        "openapi-python-client",
        [
            Path(sys.executable).with_name("openapi-python-client"),
            *("generate", "--url", f"{fleet.url}/openapi.json", "--fail-on-warning"),
            *("--config", configuration, "--meta", "none", "--output-path", directory / NAME),
        ],
        logs=directory,
    )
    with generator:
        assert generator.wait(timeout=120) == 0, generator.tail(50)
    sys.path.insert(0, str(directory))
    yield
    sys.path.remove(str(directory))


def part(name: str) -> Any:
    """Return a module of the client."""
    return importlib.import_module(f"{NAME}.{name}")


def client(fleet: Cluster, role: str) -> Any:
    return part("client").AuthenticatedClient(base_url=fleet.url, token=fleet.token(role))


def test_it_lists_the_nodes(fleet: Cluster) -> None:
    listed = part("api.agent.agent_list").sync(client=client(fleet, "read"))
    assert {node.hostname for node in listed.agents} == set(LABELS)
    assert listed.total == len(LABELS)


def test_it_reads_the_load_of_all_nodes(fleet: Cluster) -> None:
    load = part("api.node.node_load_get")
    answer = load.sync_detailed("_all", client=client(fleet, "read"), prefer="wait=30")
    assert answer.status_code == 200
    assert {result.hostname for result in answer.parsed.results} == set(LABELS)
    for result in answer.parsed.results:
        assert result.status.value == "ok"
        assert result.load_average.to_dict().keys() == {"1min", "5min", "15min"}
    job = part("api.job.job_get").sync(answer.parsed.job_id, client=client(fleet, "read"))
    assert job.id == answer.parsed.job_id
    assert job.operation.type_ == "node.load.get"
    assert job.status.value == "completed"


def test_it_sends_a_body(fleet: Cluster) -> None:
    body = part("models.docker_pull_body").DockerPullBody(image="nginx:1.27")
    pull = part("api.docker.docker_pull_execute")
    answer = pull.sync_detailed("_all", client=client(fleet, "write"), body=body)
    assert answer.status_code == 202
    assert {result.status.value for result in answer.parsed.results} == {"skipped"}


def test_errors_have_their_own_type(fleet: Cluster) -> None:
    load = part("api.node.node_load_get")
    error = part("models.error").Error
    for target, role, code in (("nobody", "read", 400), (WEB_1, "none", 403)):
        answer = load.sync_detailed(target, client=client(fleet, role))
        assert answer.status_code == code
        assert isinstance(answer.parsed, error)
        assert answer.parsed.code == code
        assert answer.parsed.error
    stranger = part("client").Client(base_url=fleet.url)
    refused = part("api.agent.agent_list").sync(client=stranger)
    assert isinstance(refused, error)
    assert refused.code == 401
