"""The Python client, for plain programs and for asyncio, against real controllers."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, assert_type

import httpx
import pytest

from tests.testing.cluster import DB_1, FRAIL, LABELS, WEB_1, WEB_2, Cluster, NodePlan
from tests.testing.engine import Engine, pull_errors
from tests.testing.ports import free_port
from tests.testing.proxy import Answer, Cut, FaultyProxy, Freeze
from tests.testing.registry import PushedImage, Registry
from towline.client import ApiError, AsyncClient, AsyncJob, Client, Job, Result
from towline.operations import docker, node


@pytest.fixture
def client(fleet: Cluster) -> Iterator[Client]:
    """A client of the nodes without an engine."""
    with Client(fleet.url, fleet.token("admin")) as client:
        yield client


def failures(url: str, token: str, *, on: str = WEB_1, image: str = "nginx") -> ApiError:
    """Return how a pull fails, which both clients tell in the same way."""

    async def awaited() -> ApiError:
        async with AsyncClient(url, token) as client:
            with pytest.raises(ApiError) as raised:
                await client.run(docker.pull, on=on, image=image)
        return raised.value

    with Client(url, token) as client, pytest.raises(ApiError) as raised:
        client.run(docker.pull, on=on, image=image)
    error, other = raised.value, asyncio.run(awaited())
    assert (error.status, error.error) == (other.status, other.error)
    assert (error.job_id is None) is (other.job_id is None)
    return error


# Results


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


def test_a_type_checker_refuses_parameters_that_do_not_fit(client: Client) -> None:
    with pytest.raises(ApiError):
        client.run(docker.pull, on=WEB_1, image=7)  # type: ignore[arg-type]
    with pytest.raises(ApiError):
        client.run(docker.pull, on=WEB_1)  # type: ignore[call-arg]
    with pytest.raises(ApiError):
        client.run(node.load, on=WEB_1, image="nginx")  # type: ignore[call-arg]
    with pytest.raises(ApiError):
        client.run(docker.list_containers, on=WEB_1, state="dead")  # type: ignore[arg-type]


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


def test_a_node_that_skips_a_job_has_no_value_and_did_not_succeed(client: Client) -> None:
    job = client.run(docker.pull, on=WEB_1, image="nginx")
    assert job.results == [
        Result(WEB_1, "skipped", None, "this node has no docker"),
    ]
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
        assert client.job(job.id)["id"] == job.id


def test_one_client_serves_several_threads(client: Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        jobs = list(threads.map(lambda _: client.run(node.load, on="_any"), range(40)))
    assert all(job.succeeded for job in jobs)
    assert len({job.id for job in jobs}) == 40


# Nodes and jobs


async def test_nodes_are_those_of_the_api(fleet: Cluster, client: Client) -> None:
    found = client.nodes()
    assert [entry["hostname"] for entry in found] == [DB_1, WEB_1, WEB_2]
    assert {entry["status"] for entry in found} == {"Ready"}
    async with AsyncClient(fleet.url, fleet.token("admin")) as other:
        also = await other.nodes()
    assert [entry["machine_id"] for entry in also] == [entry["machine_id"] for entry in found]


async def test_a_job_is_that_of_the_api(fleet: Cluster, client: Client) -> None:
    job = client.run(node.load, on=WEB_1)
    expected = fleet.job(job.id)
    assert expected["results"][0]["status"] == "ok"
    assert client.job(job.id) == expected
    async with AsyncClient(fleet.url, fleet.token("admin")) as other:
        assert await other.job(job.id, wait=5) == expected


# Errors


def test_a_token_that_is_refused_is_told(fleet: Cluster) -> None:
    error = failures(fleet.url, "x.y.z")
    assert (error.status, error.job_id) == (401, None)
    assert "token" in error.error
    assert "x.y.z" not in str(error)


def test_a_permission_that_is_missing_is_told(fleet: Cluster) -> None:
    error = failures(fleet.url, fleet.token("read"))
    assert (error.status, error.job_id) == (403, None)
    assert "docker:write" in error.error


@pytest.mark.parametrize("on", ["nobody", "group:nobody", "_none", "a b", "a/b", "..", "a" * 300])
def test_a_target_that_means_no_node_is_told(fleet: Cluster, on: str) -> None:
    before = fleet.jobs_made()
    error = failures(fleet.url, fleet.token("write"), on=on)
    assert (error.status, error.job_id) == (400, None)
    assert on[:20] in str(error)
    assert fleet.jobs_made() == before


def test_a_single_node_that_fails_is_told_in_the_engines_words(
    cluster: Cluster, engines: Sequence[Engine], registry: Registry
) -> None:
    reference = registry.reference("client/missing", "1.0")
    token = cluster.token("write")
    error = failures(cluster.url, token, image=reference)
    assert error.status == 500
    (words,) = pull_errors(engines[0].pull(reference))
    assert words in error.details
    assert error.job_id is not None
    with Client(cluster.url, token) as client:
        job = client.job(error.job_id)
    assert job["status"] == "failed"
    assert words in job["results"][0]["error"]


@pytest.mark.parametrize(
    ("job_id", "status"), [("550e8400-e29b-41d4-a716-446655440000", 404), ("../agent", 400)]
)
async def test_a_job_that_is_not_there_is_told(
    fleet: Cluster, client: Client, job_id: str, status: int
) -> None:
    with pytest.raises(ApiError) as raised:
        client.job(job_id)
    assert raised.value.status == status
    async with AsyncClient(fleet.url, fleet.token("admin")) as other:
        with pytest.raises(ApiError) as raised:
            await other.job(job_id)
    assert raised.value.status == status


def test_a_controller_that_is_down_is_told_by_its_url() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    error = failures(url, "token")
    assert (error.status, error.job_id) == (0, None)
    assert url in error.error
    assert "refused" in error.details


@pytest.mark.parametrize("image", ["", "Nginx", "nginx:", "http://nginx", "a b"])
def test_parameters_that_do_not_fit_are_told_before_any_request(image: str) -> None:
    error = failures(f"http://127.0.0.1:{free_port()}", "token", image=image)
    assert error.status == 400
    assert "image" in str(error)


# Waiting


def test_a_wait_that_ran_out_can_be_gone_on_with(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    proxy.fault = Freeze(match="images/create")
    with Client(frail.url, frail.token("write")) as client:
        job = client.with_options(wait=1).run(docker.pull, FRAIL, image=image.reference)
        assert_type(job.results, list[Result[docker.Pulled]])
        assert job.results == [Result(FRAIL, "running")]
        assert (job.done, job.succeeded) == (False, False)
        assert job.wait(0.1) is job
        assert not job.done

        proxy.fault = None
        assert job.wait(60).succeeded
        (result,) = job.results
        value = assert_type(result.value, docker.Pulled | None)
        assert value is not None
        assert value.digest == image.digest
        assert job.id == client.job(job.id)["id"]


async def test_a_wait_that_ran_out_can_be_gone_on_with_in_asyncio(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    proxy.fault = Freeze(match="images/create")
    async with AsyncClient(frail.url, frail.token("write")) as client:
        job = await client.with_options(wait=1).run(docker.pull, FRAIL, image=image.reference)
        assert job.results == [Result(FRAIL, "running")]
        assert await job.wait(0.1) is job
        assert not job.done

        waiting = asyncio.create_task(job.wait(60))
        load = await client.run(node.load, on=FRAIL)
        assert load.succeeded
        assert not waiting.done()
        proxy.fault = None
        assert (await waiting).succeeded
        (result,) = job.results
        assert result.value is not None
        assert result.value.digest == image.digest


def test_without_a_wait_the_answer_comes_at_once(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    proxy.fault = Freeze(match="images/create")
    with Client(frail.url, frail.token("write")) as client:
        job = client.with_options(wait=0).run(docker.pull, FRAIL, image=image.reference)
        assert job.results[0].status in ("pending", "running")
        proxy.fault = None
        assert job.wait(60).succeeded


def test_of_a_job_that_failed_meanwhile_the_wait_returns_the_failure(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    proxy.fault = Freeze(match="images/create")
    with Client(frail.url, frail.token("write")) as client:
        patient = client.with_options(wait=0)
        job = patient.run(docker.pull, FRAIL, image=image.reference, retries=0)
        proxy.fault = Cut(match="images/create")
        job.wait(60)
    (result,) = job.results
    assert (result.status, result.value) == ("failed", None)
    assert result.error
    assert (job.done, job.succeeded) == (True, False)


def test_a_client_waits_whatever_the_controller_would_do_by_itself(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    env = {"TOWLINE_WAIT": "0s"}
    with Cluster(tmp_path_factory.mktemp("client"), [NodePlan(WEB_1)], env) as cluster:
        (result,) = cluster.reader.get(f"/node/{WEB_1}/load").json()["results"]
        assert result["status"] == "pending"
        with Client(cluster.url, cluster.token("read")) as client:
            assert client.run(node.load, on=WEB_1).succeeded


def test_a_wait_outlives_nodes_and_controllers_that_are_away(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Cluster(tmp_path_factory.mktemp("client"), [NodePlan(WEB_1)]) as cluster:
        agent = cluster.agents[WEB_1]
        agent.stop()
        cluster.wait_away(WEB_1)
        with Client(cluster.url, cluster.token("admin")) as client:
            job = client.run(docker.pull, on=WEB_1, image="nginx")
            (result,) = job.results
            assert result.status == "pending"
            assert "not reachable since" in str(result.error)
            assert not job.wait(0.1).done

            cluster.controller.stop()
            with pytest.raises(ApiError, match=cluster.url) as raised:
                job.wait()
            assert raised.value.status == 0
            assert job.results == [result]

            cluster.controller.start()
            cluster.controller.wait_for_output("answers at")
            agent.start()
            assert job.wait(60).done
            assert job.results[0].status == "skipped"


# What is between client and controller


@pytest.fixture
def between(fleet: Cluster) -> Iterator[FaultyProxy]:
    """What stands between client and controller, at a URL of its own."""
    port = httpx.URL(fleet.url).port
    assert port is not None
    with FaultyProxy(port) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (502, "text/html", b"<h1>Bad Gateway</h1>"),
        (503, "application/json", b'["busy"]'),
        (504, "application/json", b'{"message": "late"}'),
        (301, "text/html", b""),
        (200, "text/html", b"<h1>Welcome</h1>"),
        (200, "application/json", b"[]"),
        (200, "application/json", b"{}"),
        (202, "application/json", b'{"job_id": "1", "results": [{}]}'),
        (202, "application/json", b'{"job_id": "1", "results": {"hostname": "a"}}'),
        (202, "application/json", b'{"job_id": 1, "results": []}'),
        (
            202,
            "application/json",
            b'{"job_id": "1", "results": [{"hostname": "a", "status": "ok"}]}',
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_answer_that_is_no_controllers_is_told_by_its_status(
    fleet: Cluster, between: FaultyProxy, status: int, content_type: str, body: bytes
) -> None:
    between.fault = Answer(status=status, content_type=content_type, body=body)
    error = failures(between.url, fleet.token("write"))
    assert error.status == status
    assert error.error


def test_an_answer_that_breaks_off_is_told_by_the_url(fleet: Cluster, between: FaultyProxy) -> None:
    between.fault = Cut(after=20)
    error = failures(between.url, fleet.token("write"))
    assert error.status == 0
    assert between.url in error.error


@pytest.mark.parametrize(
    "body", [b"{}", b'{"id": "1", "results": [{}]}', b'{"id": "1", "results": 7}']
)
async def test_a_wait_that_gets_no_controllers_answer_raises_and_keeps_what_was_known(
    fleet: Cluster, between: FaultyProxy, body: bytes
) -> None:
    answer: dict[str, Any] = {"job_id": "1", "results": [{"hostname": "a", "status": "running"}]}
    between.fault = Answer(match="POST", status=202, body=httpx.Response(200, json=answer).content)
    async with AsyncClient(between.url, fleet.token("write")) as other:
        with Client(between.url, fleet.token("write")) as client:
            job: Job[..., docker.Pulled] = client.run(docker.pull, on="a", image="nginx")
            also: AsyncJob[..., docker.Pulled] = await other.run(docker.pull, on="a", image="nginx")
            between.fault = Answer(match="GET", status=200, body=body)
            with pytest.raises(ApiError):
                job.wait()
            with pytest.raises(ApiError):
                await also.wait()
    assert job.results == also.results == [Result("a", "running")]
