"""Streams end with whoever follows them, and say what they refuse."""

import socket
from types import ModuleType
from urllib.parse import urlsplit

import httpx
import pytest

from tests.testing.answers import refused
from tests.testing.cluster import Cluster
from tests.testing.process import wait_until
from towline.client import AsyncClient, Client
from towline.endpoint import Event


@pytest.fixture
def http(port: Cluster) -> httpx.Client:
    """Requests of somebody who may do everything."""
    return port.client(port.token("admin"))


def moored(http: httpx.Client) -> list[str]:
    """Return which streams run."""
    return [each["text"] for each in http.get("/moored").json()]


@pytest.mark.parametrize("name", ["fram", "silent"])
def test_a_client_that_hangs_up_leaves_nothing_behind(
    http: httpx.Client, port: Cluster, name: str
) -> None:
    with http.stream("GET", f"/harbour/{name}/watch") as answer:
        # Kept: an iterator that is gone hangs up.
        received = answer.iter_bytes()
        next(received)
        assert moored(http) == [name]
    wait_until(lambda: not moored(http), what="the end of the stream")
    assert "broke off" not in port.logs


def test_a_client_that_hangs_up_before_the_answer_leaves_nothing_behind(
    http: httpx.Client, port: Cluster
) -> None:
    address = urlsplit(port.url)
    head = f"GET /harbour/silent/watch HTTP/1.1\r\nHost: {address.netloc}\r\n"
    for _ in range(5):
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(f"{head}{_authorization(http)}\r\n\r\n".encode())
    wait_until(lambda: port.logs.count("/harbour/silent/watch") >= 5, what="their end in the log")
    wait_until(lambda: not moored(http), what="the end of the streams")


def _authorization(http: httpx.Client) -> str:
    return f"Authorization: {http.headers['authorization']}"


def test_a_stream_that_waits_before_it_refuses_is_refused(http: httpx.Client) -> None:
    assert "no water" in refused(http.get("/harbour/dry/watch"), 409)
    assert http.get("/harbour/still/watch").status_code == 204


def test_a_stream_ends_when_there_is_nothing_more(http: httpx.Client, port: Cluster) -> None:
    answer = http.get("/harbour/ebb/watch")
    assert answer.text == 'retry: 1000\n\ndata: {"hour":0}\n\nevent: end\n\n'
    assert "broke off" not in port.logs


async def test_a_stream_that_ends_by_itself_ends_for_clients(
    port: Cluster, harbours: ModuleType
) -> None:
    with Client(port.url, port.token("admin")) as client:
        found = list(client.stream(harbours.watch, name="ebb"))
    assert found == [Event(harbours.Tide(0))]
    async with AsyncClient(port.url, port.token("admin")) as other:
        assert [event async for event in other.stream(harbours.watch, name="ebb")] == found


def test_a_header_is_validated_as_every_parameter_is(http: httpx.Client) -> None:
    assert http.get("/hail", headers={"X-Call": "ho"}).json() == {"text": "ho"}
    for headers in ({}, {"X-Call": "ahoy"}):
        said = refused(http.get("/hail", headers=headers), 400)
        assert "call as X-Call" in said


def test_a_last_event_id_stands_there_once(http: httpx.Client) -> None:
    twice = http.get("/event", headers=[("Last-Event-ID", "1"), ("Last-Event-ID", "2")])
    assert "Last-Event-ID is not valid: it stands there twice" in refused(twice, 400)
