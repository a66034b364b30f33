"""What clients send, and how they go on with a stream that was interrupted."""

from __future__ import annotations

import os
import ssl
from unittest import mock

import pytest

from tests.unit.stub import Answer, Asked, StubController, events
from towline.client import ApiError, AsyncClient, Client, Credential
from towline.client.connection import connection
from towline.endpoints import health
from towline.operations import docker, node

JOB = "0199a0c0-0000-7000-8000-000000000001"
MADE = Answer({"job_id": JOB, "results": []}, 202)
PULL = "POST /node/group:web/container/docker/pull"


def sent(controller: StubController) -> Asked:
    """Return the only request."""
    (asked,) = controller.asked
    return asked


def test_parameters_of_a_change_are_the_body_and_its_options_the_query(
    controller: StubController,
) -> None:
    controller.answers[PULL] = MADE
    with Client(controller.url, "token") as client:
        asking = client.with_options(wait=2.5, expires="10m", idempotency_key="k", canary=1)
        asking.run(docker.pull, on="group:web", image="nginx", retries=1)
    asked = sent(controller)
    assert asked.body == {"image": "nginx", "retries": 1}
    assert asked.query == "expires=10m&canary=1"
    assert asked.headers["prefer"] == "wait=3"
    assert asked.headers["idempotency-key"] == "k"
    assert asked.headers["authorization"] == "Bearer token"


async def test_the_client_for_asyncio_sends_the_same(controller: StubController) -> None:
    controller.answers[PULL] = MADE
    with Client(controller.url, "token") as client:
        client.with_options(max_parallel="10%").run(docker.pull, on="group:web", image="nginx")
    async with AsyncClient(controller.url, "token") as other:
        await other.with_options(max_parallel="10%").run(docker.pull, on="group:web", image="nginx")
    first, second = controller.asked
    assert (first.path, first.query, first.body) == (second.path, second.query, second.body)
    assert first.headers["prefer"] == second.headers["prefer"] == "wait=30"


def test_parameters_of_a_read_are_the_query(controller: StubController) -> None:
    controller.answers["GET /node/_all/container/docker"] = Answer({"job_id": JOB, "results": []})
    with Client(controller.url, "token") as client:
        client.with_options(wait=0).run(docker.list_containers, on="_all", limit=5)
    assert (sent(controller).query, sent(controller).body) == ("limit=5", None)
    assert sent(controller).headers["prefer"] == "respond-async"


def test_options_are_those_of_the_client_that_was_asked_for(controller: StubController) -> None:
    controller.answers[PULL] = MADE
    with Client(controller.url, "token") as client:
        client.with_options(credential=Credential("user", "secret"), expires="1h")
        client.run(docker.pull, on="group:web", image="nginx")
    assert "x-registry-auth" not in sent(controller).headers
    assert sent(controller).query == ""


@pytest.mark.parametrize("target", ["..", "a/b", "a b", "a?b", "a%2Fb"])
def test_a_target_stays_one_segment_of_the_path(controller: StubController, target: str) -> None:
    with Client(controller.url, "token") as client, pytest.raises(ApiError, match="nothing here"):
        client.run(node.load, on=target)
    assert len(sent(controller).path.split("/")) == 4


def test_a_stream_goes_on_behind_the_last_event_that_came(controller: StubController) -> None:
    path = f"/job/{JOB}/events"
    first = events(("started", {"job_id": JOB}))
    controller.answers[f"GET {path}"] = first
    with Client(controller.url, "token") as client:
        stream = client.job_events(JOB)
        assert next(stream).kind == "started"
        controller.answers[f"GET {path}"] = events(("end", {"job_id": JOB}))
        assert [event.kind for event in stream] == ["end"]
    assert [asked.headers.get("last-event-id") for asked in controller.asked] == [None, "1"]


def test_a_stream_that_never_began_is_a_controller_that_does_not_answer() -> None:
    with (
        Client("http://127.0.0.1:1", "token") as client,
        pytest.raises(ApiError, match="does not answer"),
    ):
        next(client.job_events(JOB))


def test_a_stream_without_anything_to_come_ends(controller: StubController) -> None:
    controller.answers[f"GET /job/{JOB}/events"] = Answer("", 204)
    with Client(controller.url, "token") as client:
        assert list(client.job_events(JOB, after="7")) == []
    assert sent(controller).headers["last-event-id"] == "7"


@pytest.mark.parametrize(
    ("url", "environment", "reads"),
    [
        ("http://10.0.0.1:8080", {}, False),
        ("https://10.0.0.1:8080", {}, True),
        ("http://10.0.0.1:8080", {"http_proxy": "https://10.0.0.2:3128"}, True),
    ],
)
def test_certificates_are_read_only_where_tls_may_be_spoken(
    url: str, environment: dict[str, str], reads: bool
) -> None:
    with mock.patch.dict(os.environ, environment, clear=True):
        trusted = connection(url, "token")["verify"]
    assert trusted.verify_mode is ssl.CERT_REQUIRED
    assert bool(trusted.get_ca_certs()) is reads


def test_no_proxy_is_sent_what_goes_to_this_machine(
    controller: StubController, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StubController() as between:
        proxy = between.url
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        controller.answers["GET /version"] = Answer({"version": "1.2.3"})
        with Client(controller.url, "a.b.c") as client:
            client.call(health.version)
        assert not between.asked
        assert [asked.path for asked in controller.asked] == ["/version"]
