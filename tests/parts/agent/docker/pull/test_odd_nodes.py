"""Nodes that lack something: what each engine says there, and how much it costs."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.testing.engine import Engine, EngineKind, why_missing
from tests.testing.engine_api import EngineApi
from tests.testing.odd_engines import OddEngine, away, covered, forbidden
from tests.testing.odd_images import OddImage, entry, gzipped, push, random_archive
from tests.testing.odd_servers import OK, OddServer, certificate, own_address
from tests.testing.ports import free_port
from tests.testing.process import wait_until
from tests.testing.proxy import Answer, FaultyProxy
from tests.testing.registry import Registry, archive_of, random_layer
from tests.testing.trial import Trial, pull
from towline.agent.docker.kind import Kind

CLASSIC, CONTAINERD, PODMAN = "classic", "containerd", "podman"
KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(bool(why_missing(kind)), reason="not built"))
    for kind in EngineKind
]
MIB = 1 << 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")

needs_address = pytest.mark.skipif(own_address() is None, reason="loopback alone is here")


def arriving(which: str, daemon: EngineApi) -> Path:
    """Return where an engine has what arrives."""
    if which == CLASSIC:
        return daemon.directory / "data/tmp"
    return daemon.directory / "cd/root/io.containerd.content.v1.content/ingest"


def unpacked(which: str, daemon: EngineApi) -> Path:
    """Return where an engine has what it has unpacked."""
    if which == CLASSIC:
        return daemon.directory / "data/overlay2"
    if which == PODMAN:
        return daemon.directory / "root/vfs/dir"
    return daemon.directory / "cd/root/io.containerd.snapshotter.v1.overlayfs/snapshots"


def plain(registry: Registry, name: str) -> OddImage:
    return push(registry, name, [gzipped(random_archive(name))])


@pytest.mark.parametrize("where", [arriving, unpacked], ids=["arriving", "unpacked"])
async def test_a_disk_that_is_read_only_costs_one_image_at_most(
    which: str,
    daemon: EngineApi,
    registry: Registry,
    between: FaultyProxy,
    where: Callable[[str, EngineApi], Path],
) -> None:
    if which == PODMAN and where is arriving:
        pytest.skip("what arrives Podman has in the machine's own /var/tmp")
    image = plain(registry, f"nodes/{where.__name__}-{which}")
    with covered(where(which, daemon), "ro"):
        trial = await pull(daemon, f"{between.host}/{image.name}")
    assert trial.titles == ["The disk is read-only"], trial.error
    assert between.served <= image.size


@pytest.mark.parametrize("kind", KINDS)
async def test_a_disk_that_is_full_costs_one_image_at_most(
    kind: EngineKind, registry: Registry, between: FaultyProxy
) -> None:
    """Without the agent's own look at the disk, which comes before: see test_disk_room.py."""
    zeros = gzipped(archive_of({"zeros": bytes(48 * MIB)}))
    images = [
        push(registry, f"nodes/full-{kind}", [gzipped(random_archive(f"full {kind}", 30 * MIB))]),
        push(registry, f"nodes/full-when-unpacked-{kind}", [zeros]),
    ]
    with OddEngine(kind, disk=24 * MIB) as engine:
        for image in images:
            between.count_anew()
            trial = await pull(engine, f"{between.host}/{image.name}")
            assert trial.titles == ["The disk is full"], trial.error
            assert between.served <= image.size


@pytest.mark.parametrize("which", [PODMAN])
async def test_podman_on_a_full_disk_costs_one_image(
    which: str, daemon: EngineApi, registry: Registry, between: FaultyProxy
) -> None:
    image = plain(registry, f"nodes/full-{which}")
    with covered(unpacked(which, daemon), "size=64k"):
        trial = await pull(daemon, f"{between.host}/{image.name}")
    assert trial.titles == ["The disk is full"], trial.error
    assert between.served <= image.size


@pytest.fixture(scope="module")
def bound() -> Iterator[dict[str, OddEngine]]:
    """Engines, by kind, that can't write where a mode forbids it."""
    with ExitStack() as stack:
        kinds = [kind for kind in EngineKind if why_missing(kind) is None]
        yield {kind: stack.enter_context(OddEngine(kind, bound=True)) for kind in kinds}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_that_denies_is_not_told_as_a_registry_that_does(
    kind: EngineKind, bound: dict[str, OddEngine], registry: Registry, between: FaultyProxy
) -> None:
    engine = bound[kind]
    where = [arriving(kind, engine)]
    if kind == CLASSIC:
        # What it unpacks into it makes writable for itself, and what it notes of that it doesn't.
        where += engine.directory.glob("data/image/*/layerdb")
    else:
        where.append(unpacked(kind, engine))
    assert len(where) == 2
    for number, directory in enumerate(where):
        image = plain(registry, f"nodes/denied-{kind}-{number}")
        between.count_anew()
        with forbidden(directory):
            trial = await pull(engine, f"{between.host}/{image.name}")
        assert "permission denied" in trial.error
        assert trial.titles == ["The engine may not write to its own store"], trial.error
        assert between.served <= image.size


async def test_owners_beyond_the_engines_user_namespace_cost_one_image(
    registry: Registry, between: FaultyProxy
) -> None:
    image = push(registry, "nodes/owners", [gzipped(entry("data", uid=5000, gid=5000))])
    with OddEngine(EngineKind.CLASSIC, remapped=1000) as engine:
        trial = await pull(engine, f"{between.host}/{image.name}")
    assert trial.titles == ["Owners beyond the engine's user namespace"], trial.error
    assert between.served <= image.size


async def test_a_digest_that_is_taken_is_free_after_what_the_error_says(
    engine: Engine, registry: Registry
) -> None:
    name = "nodes/taken"
    images = [registry.push_image(name, each, architecture=each) for each in ("arm64", "amd64")]
    digest = registry.push_index(name, "1.0", images)
    reference = f"{registry.reference(name)}@{digest}"
    engine.pull(reference, platform="linux/arm64")
    trial = await pull(engine, reference)
    assert trial.titles == ["The digest's name is taken"], trial.error
    assert "docker rmi" in trial.error
    engine.remove_image(reference)
    assert (await pull(engine, reference)).error == ""


async def test_what_is_cleared_under_a_pull_passes(
    which: str, daemon: EngineApi, registry: Registry, between: FaultyProxy
) -> None:
    if which == PODMAN:
        pytest.skip("what arrives Podman has in the machine's own /var/tmp")
    image = plain(registry, f"nodes/cleared-{which}")
    with away(arriving(which, daemon)):
        trial = await pull(daemon, f"{between.host}/{image.name}", retries=1)
    assert trial.titles == ["Taken away under the pull"] * 2, trial.error
    assert (await pull(daemon, f"{between.host}/{image.name}")).error == ""


async def test_a_prune_under_a_pull_costs_an_attempt_and_no_pull(
    which: str, daemon: EngineApi, registry: Registry, between: FaultyProxy
) -> None:
    if which != CONTAINERD:
        pytest.skip("a prune of images concerns no pull there")
    layers = [random_layer(f"prune-{number}", 3 * MIB) for number in range(3)]
    image = registry.push_image("nodes/prune", "1.0", layers)
    between.rate = 4 * MIB
    transport = httpx.AsyncHTTPTransport(uds=str(daemon.socket))
    trial = Trial()
    async with httpx.AsyncClient(transport=transport, base_url="http://docker") as docker:
        pulling = asyncio.create_task(
            pull(daemon, f"{between.host}/{image.repository}:1.0", trial=trial)
        )
        while not trial.faults and not pulling.done():
            (await docker.post("/images/prune")).raise_for_status()
            await asyncio.sleep(0.05)
        between.rate = None
        await pulling
    assert trial.error == ""
    assert set(trial.titles) == {"Taken away under the pull"}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_engine_whose_containerd_ends_may_be_back(
    kind: EngineKind, registry: Registry, between: FaultyProxy
) -> None:
    image = push(registry, f"nodes/killed-{kind}", [gzipped(random_archive(f"k{kind}", 6 * MIB))])
    with OddEngine(kind) as engine:
        between.rate = 2 * MIB
        pulling = asyncio.create_task(pull(engine, f"{between.host}/{image.name}", retries=0))
        await asyncio.to_thread(wait_until, lambda: between.served > MIB, what="a pull under way")
        engine.kill_containerd()
        between.rate = None
        trial = await pulling
    assert trial.titles == ["The engine stops or restarts"], trial.error


async def test_an_agent_that_may_not_use_the_socket_is_told_so_at_once(engine: Engine) -> None:
    os.seteuid(65534)
    try:
        trial = await pull(engine, "localhost:9/app:1.0")
    finally:
        os.seteuid(0)
    assert trial.titles == ["No access to the engine's socket"], trial.error
    assert "the agent's user is not in the group docker" in trial.error


async def test_an_engine_that_wants_tls_says_so(tmp_path: Path) -> None:
    both = str(certificate(tmp_path, "IP:127.0.0.1"))
    address = f"tcp://127.0.0.1:{free_port()}"
    options = ["--tls", *(f"--tls{each}={both}" for each in ("cacert", "cert", "key"))]
    options.append(f"--host={address}")
    with OddEngine(EngineKind.CLASSIC, options=options) as engine:
        trial = await pull(engine, "localhost:9/app:1.0", url=address)
    assert trial.titles == ["An engine that wants TLS"], trial.error
    assert "DOCKER_TLS_VERIFY" in trial.error


async def test_a_socket_proxy_that_does_not_let_pulls_pass_is_told_as_that(engine: Engine) -> None:
    with FaultyProxy.before_engine(engine) as before:
        body = b"<html><body><h1>403 Forbidden</h1></body></html>"
        before.fault = Answer(match="/images/create", status=403, body=body)
        trial = await pull(engine, "localhost:9/app:1.0", url=before.url)
    assert trial.titles == ["A proxy before the engine's socket refuses"], trial.error


@needs_address
async def test_a_registry_without_tls_is_told_with_what_mends_it(daemon: EngineApi) -> None:
    with OddServer(OK) as server:
        trial = await pull(daemon, f"{server.host}/app:1.0")
    assert trial.titles == ["Plain HTTP where HTTPS is wanted"], trial.error
    assert "insecure-registries" in trial.error


@needs_address
async def test_a_certificate_that_is_not_trusted_is_told_with_what_mends_it(
    daemon: EngineApi, tmp_path: Path
) -> None:
    own = certificate(tmp_path, f"IP:{own_address()}")
    with OddServer(OK, own) as server:
        trial = await pull(daemon, f"{server.host}/app:1.0")
    assert trial.titles == ["A certificate that nobody here trusts"], trial.error
    other = certificate(tmp_path, "DNS:other.example")
    with OddServer(OK, other) as server:
        trial = await pull(daemon, f"{server.host}/app:1.0")
    assert trial.titles == ["A certificate for another name"], trial.error
    old = certificate(tmp_path, f"IP:{own_address()}", begins=datetime(2020, 1, 1, tzinfo=UTC))
    with OddServer(OK, old) as server:
        trial = await pull(daemon, f"{server.host}/app:1.0")
    assert trial.titles == ["A certificate out of its time"], trial.error


@needs_address
@pytest.mark.parametrize("which", [CLASSIC])
async def test_a_registry_that_says_nothing_may_speak_later(which: str, daemon: EngineApi) -> None:
    """With the engine that waits for the shortest time: the others take up to a minute and more."""
    with OddServer(None) as server:
        trial = await pull(daemon, f"{server.host}/app:1.0", retries=0)
    assert trial.titles == ["No answer in time"], trial.error


@needs_address
@pytest.mark.parametrize("kind", KINDS)
async def test_the_engines_own_proxy_is_told_as_that(kind: EngineKind) -> None:
    def status(line: str) -> bytes:
        return f"HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()

    with ExitStack() as standing:
        server = standing.enter_context(OddServer(b""))
        proxies = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY"), f"http://{server.host}")
        with OddEngine(kind, environment=proxies) as engine:
            for line, title in {
                "407 Proxy Authentication Required": "The engine's proxy wants a login",
                "403 Forbidden": "The engine's proxy refuses",
                "503 Service Unavailable": "The registry fails",
            }.items():
                server.answer = status(line)
                trial = await pull(engine, "registry.example/app:1.0", retries=0)
                assert trial.titles == [title], trial.error
            server.answer = b""
            trial = await pull(engine, "registry.example/app:1.0", retries=0)
            assert trial.titles == ["No connection, or a broken one"], trial.error
            standing.close()
            trial = await pull(engine, "registry.example/app:1.0", retries=0)
            assert trial.titles == ["The engine's proxy can't be reached"], trial.error
            assert {fault.kind for fault in trial.faults} == {Kind.PASSING}
