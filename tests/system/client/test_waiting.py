"""How clients wait, against real controllers."""

import asyncio
import signal
from typing import assert_type

import pytest

from tests.testing.cluster import FRAIL, WEB_1, Cluster, NodePlan
from tests.testing.proxy import Cut, FaultyProxy, Freeze
from tests.testing.registry import PushedImage
from towline.client import ApiError, AsyncClient, Client, Result
from towline.operations import docker, node


def test_a_wait_that_ran_out_can_be_gone_on_with(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    proxy.fault = Freeze(match="images/create")
    with Client(frail.url, frail.token("write")) as client:
        job = client.with_options(wait=1).run(docker.pull, FRAIL, image=image.reference)
        assert_type(job.results, list[Result[docker.Pulled]])
        assert job.results == [Result(FRAIL, "running", machine_id=frail.machine_id(FRAIL))]
        assert (job.done, job.succeeded) == (False, False)
        assert job.wait(0.1) is job
        assert not job.done

        proxy.fault = None
        assert job.wait(60).succeeded
        (result,) = job.results
        value = assert_type(result.value, docker.Pulled | None)
        assert value is not None
        assert value.digest == image.digest
        assert job.id == client.job(job.id).id


async def test_a_wait_that_ran_out_can_be_gone_on_with_in_asyncio(
    frail: Cluster, proxy: FaultyProxy, image: PushedImage
) -> None:
    proxy.fault = Freeze(match="images/create")
    async with AsyncClient(frail.url, frail.token("write")) as client:
        job = await client.with_options(wait=1).run(docker.pull, FRAIL, image=image.reference)
        assert job.results == [Result(FRAIL, "running", machine_id=frail.machine_id(FRAIL))]
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
        # Stopped: a node that is quick may be done before no time is over.
        cluster.agents[WEB_1].signal(signal.SIGSTOP)
        (result,) = cluster.reader.get(f"/node/{WEB_1}/load").json()["results"]
        cluster.agents[WEB_1].signal(signal.SIGCONT)
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
            assert "not reachable since" in str(result.reason)
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
