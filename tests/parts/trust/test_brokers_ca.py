"""The brokers' CA is replaced while brokers run, and nobody who has been given the new one notices.

Keys are copied by hand, as an operator does.
"""

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.testing.own_broker import OwnBroker, is_route, until_verified, verifies
from tests.testing.ports import free_port
from tests.testing.process import TowlineProcess
from tests.testing.stream import connect
from towline.broker.settings import Settings
from towline.errors import BrokerUnreachable
from towline.runtime import broker as command
from towline.runtime.nats_conf import own_plan
from towline.trust import rotation
from towline.trust.certificates import pem_blocks
from towline.trust.keys import CA, CA_KEY, JOURNAL_LOGIN, Trust, create


@contextlib.asynccontextmanager
async def running(trust: Trust, directory: Path, port: int) -> AsyncIterator[None]:
    """Run a broker that looks at the files of its CA often."""
    plan = own_plan(directory, trust.path(CA), f"127.0.0.1:{port}", "server", None)
    ready = asyncio.Event()
    task = asyncio.create_task(
        command.run(trust, plan, ["127.0.0.1"], ready.set, look_every=0.1, read_every=0.05)
    )
    try:
        async with asyncio.timeout(60):
            await ready.wait()
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return create(tmp_path)


async def test_a_broker_that_runs_on_shows_certificates_by_the_first_ca_and_keeps_its_connections(
    trust: Trust, tmp_path: Path
) -> None:
    port = free_port()
    old = trust.read(CA)
    async with running(trust, tmp_path / "broker", port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        await writer.start_tls(ssl.create_default_context(cadata=old))
        with capture_logs() as logs:
            rotation.rotate_authorities(trust)
            _, new = pem_blocks(trust.read(CA))
            async with asyncio.timeout(30):
                while not any(each["event"] == "certificate renewed" for each in logs):
                    await asyncio.sleep(0.05)
        assert await verifies(port, old)
        assert not await verifies(port, new)
        rotation.rotate_authorities(trust)
        await until_verified(port, new)
        rotation.retire_authorities(trust)
        assert not await verifies(port, old)
        assert not reader.at_eof()
        writer.close()


async def test_files_of_a_ca_that_arrive_one_after_the_other_are_used_once_both_are_there(
    trust: Trust, tmp_path: Path
) -> None:
    port = free_port()
    old = trust.read(CA)
    async with running(trust, tmp_path / "broker", port):
        other = tmp_path / "copy"
        shutil.copytree(trust.directory, other)
        for _ in range(2):
            rotation.rotate_authorities(Trust(other))
        rotation.retire_authorities(Trust(other))
        with capture_logs() as logs:
            shutil.copy(other / CA, trust.path(CA))
            async with asyncio.timeout(30):
                while not any(each["event"] == "keys not read again" for each in logs):
                    await asyncio.sleep(0.05)
        assert await verifies(port, old)
        shutil.copy(other / CA_KEY, trust.path(CA_KEY))
        await until_verified(port, trust.read(CA))


async def test_who_connects_again_does_so_by_the_certificates_and_with_the_login_of_that_moment(
    tmp_path: Path,
) -> None:
    with OwnBroker(tmp_path) as broker:
        url = broker.url
        ca, login = tmp_path / "known.pem", tmp_path / "login.creds"
        shutil.copy(broker.ca, ca)
        shutil.copy(broker.trust.path(JOURNAL_LOGIN), login)
        async with connect(Settings([url], login, ca)) as connection:
            await connection.request("$JS.API.INFO", b"")
            own = Trust(broker.state(0) / "trust")
            for _ in range(2):
                rotation.rotate_authorities(own)
            new = pem_blocks(own.read(CA))[0]
            await until_verified(broker.ports[0], new)
            await asyncio.to_thread(broker.stop)
            await asyncio.to_thread(broker.start)
            with pytest.raises(BrokerUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
                await connection.request("$JS.API.INFO", b"", timeout=1)
            ca.write_text("?")
            with pytest.raises(BrokerUnreachable, match=r"known\.pem.*can't be read"):
                await connection.request("$JS.API.INFO", b"", timeout=1)
            ca.write_text(new)
            await connection.request("$JS.API.INFO", b"", timeout=30)


def test_brokers_of_a_cluster_take_each_other_for_one_in_each_step(tmp_path: Path) -> None:
    with OwnBroker(tmp_path, size=3) as cluster:
        cluster.wait_whole()
        old = cluster.trust.authority.issue(["127.0.0.1"], connects=True)
        old_ca = cluster.trust.read(CA)
        pair = tmp_path / "cert.pem", tmp_path / "key.pem"
        pair[0].write_text(old.certificate)
        pair[1].write_text(old.key)

        def step(*, anew: bool = False) -> None:
            """Copy the files of the CA to one broker after the other.

            `anew` makes the routes of the first one anew, to brokers that have not the files yet.
            """
            for number, server in enumerate(cluster.servers):
                seen = server.stderr.count("certificate renewed")
                for name in (CA, CA_KEY):
                    shutil.copy(cluster.trust.path(name), cluster.state(number) / "trust" / name)

                def renewed(server: TowlineProcess = server, seen: int = seen) -> bool:
                    return server.stderr.count("certificate renewed") > seen

                server.wait_for(renewed)
                first = pem_blocks(cluster.trust.read(CA))[0]
                asyncio.run(until_verified(cluster.ports[number], first))
                if anew and number == 0:
                    server.stop()
                    cluster.start()
                    cluster.wait_whole()

        def is_one() -> bool:
            return asyncio.run(is_route(cluster.routes[1], cluster.ca, pair))

        rotation.rotate_authorities(cluster.trust)
        step()
        rotation.rotate_authorities(cluster.trust)
        step(anew=True)
        assert is_one()
        rotation.retire_authorities(cluster.trust)
        step()
        assert not is_one()
        assert not asyncio.run(verifies(cluster.ports[1], old_ca))
