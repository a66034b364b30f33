"""The parts themselves: what the other tests take for granted."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from tests.testing.engine import Engine, EngineKind, pull_errors, running_engines
from tests.testing.process import Failed, Process
from tests.testing.proxy import Answer, Cut, EndEarly, Fault, FaultyProxy, FlipByte, Freeze
from tests.testing.registry import PASSWORD, USER, PushedImage, Registry, random_layer


@pytest.fixture
def engine(engines: Sequence[Engine]) -> Engine:
    return engines[0]


@pytest.fixture
def image(registry: Registry, request: pytest.FixtureRequest) -> PushedImage:
    """An image that no engine has seen: of two layers, one past any buffer's size."""
    name = request.node.name.lower().replace("[", "-").rstrip("]")
    layers = [random_layer(f"{name}-1"), random_layer(f"{name}-2", size=300_000)]
    return registry.push_image(f"parts/{name}", "1.0", layers)


@pytest.fixture
def proxy(registry: Registry) -> Iterator[FaultyProxy]:
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy


def through(proxy: FaultyProxy, image: PushedImage) -> str:
    return f"{proxy.host}/{image.reference.partition('/')[2]}"


def test_an_engine_pulls_what_was_pushed_and_knows_it_by_the_digest(
    engine: Engine, image: PushedImage
) -> None:
    progress = engine.pull(image.reference)

    assert not pull_errors(progress)
    assert f"Digest: {image.digest}" in [message.get("status") for message in progress]
    found = engine.image(image.reference)
    assert found is not None
    store = {EngineKind.CLASSIC: image.config_digest, EngineKind.CONTAINERD: image.digest}
    assert found["Id"] == store[engine.kind]
    assert found["RepoDigests"] == [image.by_digest]
    engine.remove_image(image.reference)
    assert engine.image(image.reference) is None


def test_each_kind_of_engine_is_the_version_that_it_stands_for(engine: Engine) -> None:
    major = int(engine.version()["Version"].partition(".")[0])
    assert major >= 29 if engine.kind is EngineKind.CONTAINERD else major >= 20


def test_engines_side_by_side_share_no_images(
    engines: Sequence[Engine], image: PushedImage
) -> None:
    engines[0].pull(image.reference)
    assert engines[0].image(image.reference)
    assert engines[1].image(image.reference) is None


def test_an_engine_keeps_its_images_over_a_restart_and_a_kill(engine_kind: EngineKind) -> None:
    with Registry() as registry, running_engines(engine_kind, 1) as (engine,):
        image = registry.push_image("parts/kept", "1.0")
        assert not pull_errors(engine.pull(image.reference))
        engine.restart()
        assert engine.image(image.reference)
        engine.kill()
        assert not engine.reachable()
        engine.start()
        assert engine.image(image.reference)


def test_a_closed_engine_leaves_no_process_no_mount_and_no_file(engine_kind: EngineKind) -> None:
    with running_engines(engine_kind, 1) as (engine,):
        engine.kill()
    assert not engine.directory.exists()
    assert str(engine.directory) not in Path("/proc/mounts").read_text()
    assert str(engine.directory).encode() not in b"".join(command_lines())


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


def test_an_image_for_another_platform_only_finds_no_match(
    engine: Engine, registry: Registry
) -> None:
    foreign = registry.push_image("parts/foreign", "1.0-s390x", architecture="s390x")
    registry.push_index("parts/foreign", "1.0", [foreign])
    (error,) = pull_errors(engine.pull(registry.reference("parts/foreign", "1.0")))
    assert "no match" in str(error)


def test_a_corrupt_layer_fails_its_digest(
    engine: Engine, registry: Registry, image: PushedImage
) -> None:
    registry.corrupt_blob(image.layer_digests[1])
    assert pull_errors(engine.pull(image.reference))
    assert engine.image(image.reference) is None


def test_a_registry_with_a_lock_wants_the_key(engine: Engine) -> None:
    with Registry(authenticated=True) as registry:
        image = registry.push_image("parts/locked", "1.0")
        manifest = f"{registry.url}/v2/parts/locked/manifests/1.0"
        assert httpx.get(manifest).status_code == 401
        assert httpx.get(manifest, auth=(USER, PASSWORD)).status_code == 200
        engine.pull(image.reference)
        assert engine.image(image.reference) is None


def test_a_registry_that_was_stopped_serves_again_what_it_had(registry: Registry) -> None:
    with Registry() as other:
        other.push_image("parts/back", "1.0")
        other.stop()
        with pytest.raises(httpx.ConnectError):
            httpx.get(other.url)
        other.start()
        assert httpx.get(f"{other.url}/v2/parts/back/manifests/1.0").is_success


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


def test_a_process_is_waited_for_stopped_and_started_again(tmp_path: Path) -> None:
    with Process("sleeper", ["sh", "-c", "echo ready; exec sleep 600"], logs=tmp_path) as process:
        process.wait_for_output("^ready$")
        assert process.stop() == -signal.SIGTERM
        process.start()
        process.wait_for_output("^ready$")
    assert process.returncode == -signal.SIGTERM
    assert process.stdout == "ready\nready\n"


def test_a_process_that_ends_too_early_fails_with_its_log(tmp_path: Path) -> None:
    process = Process("liar", ["sh", "-c", "echo no luck >&2; exit 3"], logs=tmp_path)
    with pytest.raises(Failed, match=r"(?s)ended with 3 .*no luck"), process:
        process.wait_for_output("ready")


def test_closing_a_process_ends_children_that_left_its_session(tmp_path: Path) -> None:
    script = "import os, sys\nif os.fork() == 0: os.setsid()\nelse: print('ready', flush=True)\n"
    wait = "import time; time.sleep(600)"
    with Process("parent", [sys.executable, "-c", script + wait], logs=tmp_path) as process:
        process.wait_for_output("ready")
        process.kill()
        (orphan,) = process.survivors()
        os.kill(orphan, 0)
    assert process.survivors() == []
