"""The proxy relays faithfully, and misbehaves as it should."""

import socket
import time

import httpx
import pytest

from tests.testing.engine import Engine, EngineKind
from tests.testing.engine_api import pull_errors
from tests.testing.proxy import Answer, Cut, EndEarly, Fault, FaultyProxy, FlipByte, Freeze
from tests.testing.registry import PushedImage, Registry, random_layer


def through(proxy: FaultyProxy, image: PushedImage) -> str:
    return f"{proxy.host}/{image.reference.partition('/')[2]}"


def test_a_proxy_without_a_fault_changes_nothing(
    engine: Engine, image: PushedImage, proxy: FaultyProxy
) -> None:
    reference = through(proxy, image)
    assert not pull_errors(engine.pull(reference))
    found = engine.image(reference)
    assert found is not None
    assert found["RepoDigests"] == [f"{reference.rpartition(':')[0]}@{image.digest}"]
    assert any(request.endswith(f"/blobs/{image.layer_digests[1]}") for request in proxy.requests)


@pytest.mark.parametrize(
    "fault",
    [
        Cut(match="GET .*/blobs/", after=10_000),
        FlipByte(match="GET .*/blobs/", after=10_000),
        Answer(match="/manifests/", status=500, body=b'{"errors": []}'),
    ],
    ids=lambda fault: type(fault).__name__.lower(),
)
def test_a_fault_between_engine_and_registry_fails_the_pull_and_mended_it_succeeds(
    engine: Engine, image: PushedImage, proxy: FaultyProxy, fault: Fault
) -> None:
    reference = through(proxy, image)
    proxy.fault = fault
    assert pull_errors(engine.pull(reference))
    assert engine.image(reference) is None

    proxy.fault = None
    # containerd keeps a layer that arrived whole and wrong until it collects its garbage, some
    # 0.3 s after the pull has failed. Until then a pull fails again without asking the registry,
    # and holds that layer for longer: so with a pause, and more than once.
    errors = [pull_errors(engine.pull(reference))]
    while errors[-1] and engine.kind is EngineKind.CONTAINERD and len(errors) < 20:
        time.sleep(1.0)
        errors.append(pull_errors(engine.pull(reference)))
    assert not errors[-1], errors


def test_a_frozen_response_goes_on_when_thawed(registry: Registry, proxy: FaultyProxy) -> None:
    image = registry.push_image("parts/frozen", "1.0", [random_layer("frozen", 100_000)])
    blob = f"/v2/parts/frozen/blobs/{image.layer_digests[0]}"
    proxy.fault = Freeze(match="/blobs/", after=50_000)
    with httpx.stream("GET", proxy.url + blob) as response:
        pieces = response.iter_raw()
        received = b""
        while len(received) < 50_000:
            received += next(pieces)
        assert len(received) == 50_000
        proxy.fault = None
        received += b"".join(pieces)
    assert received == registry.blob_path(image.layer_digests[0]).read_bytes()


def test_what_still_comes_of_a_blob_from_before_is_not_counted(
    registry: Registry, proxy: FaultyProxy
) -> None:
    image = registry.push_image("parts/counted", "1.0", [random_layer("counted", 100_000)])
    blob = f"/v2/parts/counted/blobs/{image.layer_digests[0]}"
    proxy.fault = Freeze(match="/blobs/", after=50_000)
    with httpx.stream("GET", proxy.url + blob) as response:
        pieces = response.iter_raw()
        assert 0 < len(next(pieces)) <= proxy.served
        proxy.count_anew()
        proxy.fault = None
        assert len(b"".join(pieces)) > 0
    assert proxy.served == 0
    assert httpx.get(proxy.url + blob).is_success
    assert proxy.served >= 100_000


def test_a_refusing_proxy_accepts_again_at_the_same_address(proxy: FaultyProxy) -> None:
    assert httpx.get(f"{proxy.url}/v2/").is_success
    proxy.refuse()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{proxy.url}/v2/")
    proxy.accept()
    assert httpx.get(f"{proxy.url}/v2/").is_success


@pytest.mark.parametrize("fault", [Cut, EndEarly])
def test_an_engines_stream_can_be_cut_or_end_early_and_clean(
    engine: Engine, image: PushedImage, fault: type[Cut] | type[EndEarly]
) -> None:
    with FaultyProxy.before_engine(engine) as proxy:
        proxy.fault = fault(match="POST /images/create", after=1, unit="line")
        transport = httpx.HTTPTransport(uds=str(proxy.socket))
        with httpx.Client(transport=transport, base_url="http://docker") as client:
            assert client.get("/_ping").text == "OK"
            create = client.stream("POST", "/images/create", params={"fromImage": image.reference})
            lines: list[str] = []
            if fault is Cut:
                with pytest.raises(httpx.TransportError), create as response:
                    lines.extend(response.iter_lines())
            else:
                with create as response:
                    lines.extend(response.iter_lines())
            assert len(lines) == 1
            assert "Pulling from" in lines[0]


def test_a_proxy_that_ends_while_connections_come_in_leaves_none_behind() -> None:
    # What is left behind is an error of pytest's: a task that is pending, a socket that is open.
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        for _ in range(20):
            with FaultyProxy(upstream.getsockname()[1]) as proxy:
                clients = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(20)]
                for client in clients:
                    client.send(b"G")
            for client in clients:
                client.close()
