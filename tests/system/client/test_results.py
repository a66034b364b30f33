"""What clients return, against real controllers."""

import asyncio
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import assert_type

import msgspec
import pytest

from tests.testing.cluster import DB_1, LABELS, WEB_1, WEB_2, Cluster
from tests.testing.engine import Engine
from tests.testing.engine_api import pull_errors
from tests.testing.registry import PushedImage, Registry
from towline.client import ApiError, AsyncClient, Client, Result
from towline.operations import docker, node


def test_results_have_the_operations_type(client: Client) -> None:
    job = client.run(node.load, on="group:web")
    for result in job.results:
        assert_type(result, Result[node.Load])
        value = assert_type(result.value, node.Load | None)
        assert isinstance(value, node.Load)
        assert value.load_average.one_minute >= 0
    assert [result.hostname for result in job.results] == [WEB_1, WEB_2]
    assert {(result.status, result.error) for result in job.results} == {("ok", None)}
    assert (job.done, job.succeeded) == (True, True)


async def test_results_have_the_operations_type_with_asyncio_too(fleet: Cluster) -> None:
    async with AsyncClient(fleet.url, fleet.token("read")) as client:
        jobs = await asyncio.gather(*(client.run(node.load, on=name) for name in LABELS))
    for name, job in zip(LABELS, jobs, strict=True):
        (result,) = job.results
        value = assert_type(result.value, node.Load | None)
        assert isinstance(value, node.Load)
        assert (result.hostname, result.status) == (name, "ok")


def test_a_job_is_gone_on_with_elsewhere(fleet: Cluster, client: Client) -> None:
    made = client.with_options(wait=0.01).run(node.load, on="group:web")
    with Client(fleet.url, fleet.token("read")) as other:
        job = other.attach(node.load, made.id).wait(30)
        value = assert_type(job.results[0].value, node.Load | None)
        assert isinstance(value, node.Load)
        assert ([each.hostname for each in job.results], job.succeeded) == ([WEB_1, WEB_2], True)
        assert [event.kind for event in job.events()][-1] == "end"
        with pytest.raises(ApiError, match=r"one of node\.load\.get, not of docker") as refused:
            other.attach(docker.pull, made.id)
        assert (refused.value.status, refused.value.job_id) == (400, made.id)
        with pytest.raises(ApiError) as unknown:
            other.attach(node.load, str(uuid.uuid4()))
        assert unknown.value.status == 404


async def test_a_job_is_gone_on_with_elsewhere_with_asyncio_too(fleet: Cluster) -> None:
    async with AsyncClient(fleet.url, fleet.token("read")) as client:
        made = await client.run(node.load, on="group:web")
        job = await client.attach(node.load, made.id)
    assert job.results == made.results


def test_a_pull_is_known_by_what_the_engine_has(
    cluster: Cluster, engines: Sequence[Engine], image: PushedImage
) -> None:
    with Client(cluster.url, cluster.token("write")) as client:
        job = client.run(docker.pull, on=WEB_1, image=image.reference)
    (result,) = job.results
    value = assert_type(result.value, docker.Pulled | None)
    on_node = engines[0].image(image.reference)
    assert on_node is not None
    assert value == docker.Pulled(on_node["Id"], on_node["Size"], True, "1.0", image.digest)


async def test_containers_of_all_nodes_are_listed(cluster: Cluster) -> None:
    async with AsyncClient(cluster.url, cluster.token("read")) as client:
        job = await client.run(docker.list_containers, on="_all", state="running", limit=5)
    assert [result.value for result in job.results] == 3 * [docker.Containers([])]


def test_a_node_that_skips_a_job_has_no_value_and_did_not_succeed(
    fleet: Cluster, client: Client
) -> None:
    job = client.run(docker.pull, on=WEB_1, image="nginx")
    machine = fleet.machine_id(WEB_1)
    reason = "this node has no docker"
    assert job.results == [Result(WEB_1, "skipped", machine_id=machine, reason=reason)]
    assert (job.done, job.succeeded) == (True, False)


def test_failures_of_several_nodes_are_results(
    cluster: Cluster, engines: Sequence[Engine], registry: Registry
) -> None:
    reference = registry.reference("client/nowhere", "1.0")
    with Client(cluster.url, cluster.token("write")) as client:
        # Each node in its own engine's words, not in those of the one that resolves the tag.
        job = client.run(docker.pull, on="_all", image=reference, resolve="each")
    assert (job.done, job.succeeded) == (True, False)
    (words,) = pull_errors(engines[0].pull(reference))
    for result in job.results:
        assert (result.status, result.value) == ("failed", None)
        assert result.error is not None
        assert words in result.error


@pytest.mark.parametrize("suffix", ["/", "/api", "/api/"])
def test_the_controllers_url_may_have_a_path(fleet: Cluster, suffix: str) -> None:
    with Client(fleet.url + suffix, fleet.token("admin")) as client:
        job = client.run(node.load, on=WEB_1)
        assert job.succeeded
        assert client.job(job.id).id == job.id


def test_one_client_serves_several_threads(client: Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        jobs = list(threads.map(lambda _: client.run(node.load, on="_any"), range(40)))
    assert all(job.succeeded for job in jobs)
    assert len({job.id for job in jobs}) == 40


async def test_nodes_are_those_of_the_api(fleet: Cluster, client: Client) -> None:
    found = client.nodes()
    assert [entry.hostname for entry in found] == [DB_1, WEB_1, WEB_2]
    assert {entry.status for entry in found} == {"Ready"}
    async with AsyncClient(fleet.url, fleet.token("admin")) as other:
        also = await other.nodes()
    assert [entry.machine_id for entry in also] == [entry.machine_id for entry in found]


async def test_a_job_is_that_of_the_api(fleet: Cluster, client: Client) -> None:
    job = client.run(node.load, on=WEB_1)
    expected = fleet.job(job.id)
    assert expected["results"][0]["status"] == "ok"
    assert msgspec.to_builtins(client.job(job.id)) == expected
    async with AsyncClient(fleet.url, fleet.token("admin")) as other:
        assert msgspec.to_builtins(await other.job(job.id, wait=5)) == expected
