"""`towline broker`, alone and as one of a cluster."""

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from nats.js.api import StreamConfig
from structlog.testing import capture_logs

from tests.testing.command import CommandLine, failed
from tests.testing.logins import REVOKED, lets_in, taking_back, until_shut_out
from tests.testing.own_broker import OwnBroker, is_route
from tests.testing.ports import free_port, listening
from tests.testing.process import Process, wait_until
from tests.testing.up import ServiceManager, naming
from towline.runtime import broker as command
from towline.runtime.nats_conf import own_plan
from towline.runtime.nats_server import server_program
from towline.runtime.state_directory import Lock
from towline.trust.account import FOR_GOOD
from towline.trust.certificates import Pair
from towline.trust.keys import CA, JOURNAL_LOGIN, NODES_LOGIN, Trust, create


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with OwnBroker(tmp_path_factory.mktemp("cluster"), size=3) as cluster:
        cluster.wait_whole()
        yield cluster


async def test_three_brokers_store_what_they_are_given_while_one_of_them_is_away(
    cluster: OwnBroker,
) -> None:
    login = cluster.trust.path(JOURNAL_LOGIN)
    async with cluster.client(login, 0) as client:
        streams = client.jetstream(timeout=20)
        await streams.add_stream(StreamConfig(name="KEPT", subjects=["kept"], num_replicas=3))
        await streams.publish("kept", b"one")
    cluster.servers[0].stop()
    try:
        async with cluster.client(login, 1) as client:
            await client.jetstream(timeout=20).publish("kept", b"two")
        async with cluster.client(login, 2) as client:
            streams = client.jetstream(timeout=20)
            found = [(await streams.get_msg("KEPT", number)).data for number in (1, 2)]
            assert found == [b"one", b"two"]
    finally:
        await asyncio.to_thread(cluster.start)
        await asyncio.to_thread(cluster.wait_whole)


async def test_messages_pass_between_nodes_and_controllers_at_different_brokers(
    cluster: OwnBroker, tmp_path: Path
) -> None:
    (tmp_path / "m.creds").write_text(cluster.trust.node_login("m"))
    async with (
        cluster.client(cluster.trust.path(NODES_LOGIN), 0) as controller,
        cluster.client(tmp_path / "m.creds", 2) as node,
    ):
        beats = await controller.subscribe("beat.*")
        await controller.flush()
        for _ in range(100):
            await node.publish("beat.m", b"")
            with contextlib.suppress(TimeoutError):
                assert (await beats.next_msg(timeout=0.2)).subject == "beat.m"
                return
        raise AssertionError("nothing came")


async def test_a_login_that_is_taken_back_at_one_broker_is_so_at_all(cluster: OwnBroker) -> None:
    login, other = cluster.trust.node_login("m1"), cluster.trust.node_login("m2")
    async with (
        taking_back(cluster, 0) as logins,
        cluster.raw(login, number=1) as one,
        cluster.raw(login, number=2) as two,
        cluster.raw(other, number=2) as spared,
    ):
        assert await logins.revoke(dict.fromkeys(logins.keys_of("m1"), FOR_GOOD), {})
        assert await one.until_ended() == await two.until_ended() == [REVOKED]
        assert await spared.settle() == []
        for number in range(3):
            assert not await lets_in(cluster, login, number)


async def test_a_broker_that_was_away_takes_back_what_the_others_have(cluster: OwnBroker) -> None:
    login = cluster.trust.node_login("m3")
    cluster.servers[2].stop()
    try:
        async with taking_back(cluster, 0) as logins:
            assert await logins.revoke(dict.fromkeys(logins.keys_of("m3"), FOR_GOOD), {})
    finally:
        await asyncio.to_thread(cluster.start)
    # No controller is there any more: the brokers have it from each other.
    await until_shut_out(cluster, login, 2)
    await asyncio.to_thread(cluster.wait_whole)


def written(directory: Path, pair: Pair) -> tuple[Path, Path]:
    (directory / "cert.pem").write_text(pair.certificate)
    (directory / "key.pem").write_text(pair.key)
    return directory / "cert.pem", directory / "key.pem"


async def test_one_of_the_cluster_is_only_who_shows_a_certificate_for_that(
    cluster: OwnBroker, tmp_path: Path
) -> None:
    own = cluster.state(1) / "broker"
    authority = cluster.trust.authority
    foreign = create(tmp_path)

    async def joins(pair: tuple[Path, Path] | None) -> bool:
        return await is_route(cluster.routes[0], cluster.ca, pair)

    assert await joins((own / "server.pem", own / "server.key"))
    assert not await joins(None)
    # That of another server by the same CA, such as the API's, is for being connected to.
    assert not await joins(written(tmp_path, authority.issue(["127.0.0.1"])))
    stranger = foreign.authority.issue(["127.0.0.1"], connects=True)
    assert not await joins(written(tmp_path, stranger))


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return create(tmp_path_factory.mktemp("fleet"))


async def served(port: int, trust: Trust) -> bytes:
    """Return the certificate that a broker shows."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    await writer.start_tls(ssl.create_default_context(cafile=trust.path(CA)))
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


@contextlib.asynccontextmanager
async def renewing(
    trust: Trust, directory: Path, port: int, clock: Callable[[], float]
) -> AsyncIterator[None]:
    """Run a broker whose certificates are renewed after a minute of this clock."""
    plan = own_plan(directory, trust.path(CA), f"127.0.0.1:{port}", "server", None)
    ready = asyncio.Event()
    running = asyncio.create_task(
        command.run(
            *(trust, plan, ["127.0.0.1"], ready.set),
            renew_every=60,
            look_every=0.05,
            clock=clock,
        )
    )
    try:
        async with asyncio.timeout(60):
            await ready.wait()
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_broker_that_runs_on_gets_new_certificates_and_keeps_its_connections(
    trust: Trust, tmp_path: Path
) -> None:
    port, now = free_port(), 1.7e9
    async with renewing(trust, tmp_path, port, lambda: now), asyncio.timeout(60):
        seen = {await served(port, trust)}
        context = ssl.create_default_context(cafile=trust.path(CA))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        await writer.start_tls(context)
        # Time passes, or the clock is set: it may have been wrong when the broker started.
        for step in (60.0, 1e8, -1e8):
            now += step
            while (found := await served(port, trust)) in seen:
                await asyncio.sleep(0.05)
            seen.add(found)
        assert not reader.at_eof()
        writer.close()
    assert not naming(tmp_path)


async def test_a_broker_whose_certificate_can_not_be_written_runs_on(
    trust: Trust, tmp_path: Path
) -> None:
    port, now = free_port(), 1.7e9
    async with renewing(trust, tmp_path, port, lambda: now), asyncio.timeout(60):
        first = await served(port, trust)
        key = tmp_path / "server.key"
        key.unlink()
        key.mkdir()
        with capture_logs() as logs:
            now += 60
            while not any("not renewed" in entry["event"] for entry in logs):
                await asyncio.sleep(0.05)
        assert await served(port, trust) == first
        key.rmdir()
        while await served(port, trust) == first:
            await asyncio.sleep(0.05)


def test_a_broker_ends_with_the_command_and_starts_again_with_what_it_has(tmp_path: Path) -> None:
    with OwnBroker(tmp_path) as broker:
        (server,) = broker.servers
        (pid,) = [pid for pid in naming(tmp_path / "broker-0") if pid != server.pid]
        server.kill()
        wait_until(lambda: not listening(broker.ports[0]), what="the end of the server")
        assert not Path(f"/proc/{pid}").exists() or pid not in naming(tmp_path)
        server.start()
        server.wait_for_output("The broker answers at")
        assert server.stop() == 0
        assert not listening(broker.ports[0])
        assert not naming(tmp_path / "broker-0")


def test_a_broker_whose_server_ends_ends_with_it(tmp_path: Path) -> None:
    with OwnBroker(tmp_path) as broker:
        (server,) = broker.servers
        configuration = str(tmp_path / "broker-0" / "broker" / "nats.conf")
        (pid,) = [
            pid
            for pid in naming(tmp_path / "broker-0")
            if configuration in Path(f"/proc/{pid}/cmdline").read_text()
        ]
        os.kill(pid, signal.SIGKILL)
        assert server.wait() == 2
        assert "The broker ended with status -9" in server.stderr


def test_the_service_manager_is_notified_once_it_answers(tmp_path: Path) -> None:
    with ServiceManager(f"@{tmp_path}") as manager:
        broker = OwnBroker(tmp_path)
        server = broker.server(0)
        server._env["NOTIFY_SOCKET"] = manager.address
        with server:
            manager.wait_for("READY=1")
            assert listening(broker.ports[0])
            server.stop()
            manager.wait_for("STOPPING=1")


WRONG = {
    "no address": (["--listen", "4222"], "'4222'"),
    "no address for the cluster": (["--cluster", "x"], "'x'"),
    "no route": (["--cluster", "127.0.0.1:1", "--route", "x:y"], "'x:y'"),
    "a route and no cluster": (["--route", "127.0.0.1:1"], "--cluster"),
    "a cluster and no route": (["--cluster", "127.0.0.1:1"], "--route"),
    "a name with a blank": (["--name", "a b"], "'a b'"),
    "an address that is none": (["--address", "a..b"], "'a..b'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_broker_is_not_started_with_what_cannot_work(
    trust: Trust, what: str, tmp_path: Path
) -> None:
    arguments, named = WRONG[what]
    shutil.copytree(trust.directory, tmp_path / "trust")
    said = failed(CommandLine(tmp_path)("broker", *arguments))
    assert said.startswith("towline: ")
    assert named in said


def test_a_broker_is_not_started_without_its_keys(tmp_path: Path) -> None:
    assert "towline trust init" in failed(CommandLine(tmp_path)("broker"))


@pytest.mark.parametrize("command", ["broker", "up"])
def test_a_state_directory_has_one_broker(command: str, tmp_path: Path) -> None:
    lock = Lock(tmp_path, "broker")
    said = failed(CommandLine(tmp_path)(command))
    lock.close()
    assert f"process {os.getpid()}" in said
    assert not (tmp_path / "trust").exists()


def test_a_configuration_for_servers_of_one_s_own_is_one(trust: Trust, tmp_path: Path) -> None:
    """It is read by the server itself, with certificates from elsewhere."""
    cert, key = written(tmp_path, trust.authority.issue(["127.0.0.1"], connects=True))
    port = free_port()
    printed = CommandLine(trust.directory.parent)(
        *("trust", "nats-conf", "--listen", f"127.0.0.1:{port}", "--name", "own"),
        *("--store", tmp_path / "store", "--certificate", cert, "--key", key),
        *("--ca", trust.path(CA), "--cluster", f"127.0.0.1:{free_port()}"),
        *("--route", f"127.0.0.1:{free_port()}"),
    )
    assert printed.status == 0
    (tmp_path / "nats.conf").write_text(printed.stdout)
    process = Process("own", [server_program(), "-c", tmp_path / "nats.conf"], logs=tmp_path)
    with process:
        process.wait_for(lambda: listening(port))
        assert process.stop() in (0, 1)
