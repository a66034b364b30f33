"""`towline broker`: brokers of Towline's own, encrypted, with a login for each node."""

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import nats
from nats.aio.client import Client

from tests.testing.assembly import Assembly
from tests.testing.broker import Broker
from tests.testing.nats_protocol import Raw
from tests.testing.ports import free_port
from tests.testing.process import TowlineProcess, start_listening, wait_until
from tests.testing.up import command_of
from towline.trust.bundle import names
from towline.trust.job_keys import JOBS_PUBLIC, load_signer, publish
from towline.trust.keys import CA, JOBS_KEY, JOURNAL_LOGIN, Trust, create


class OwnBroker(Broker):
    """Brokers that `towline broker` runs with the keys of one trust directory.

    `trust` is that, `servers` are the processes, by whose state directories each has a copy of
    what it needs of it.

    Parameters: `directory` holds all state and logs; `size` is how many of them are one cluster.
    """

    def __init__(self, directory: Path, size: int = 1) -> None:
        Assembly.__init__(self)
        self._directory = directory
        (directory / "fleet").mkdir()
        self.trust: Trust = create(directory / "fleet")
        self.ports = [free_port() for _ in range(size)]
        self.routes = [free_port() for _ in range(size)] if size > 1 else []
        self.servers: list[TowlineProcess] = []

    def _start(self) -> None:
        for number in range(len(self.ports)):
            self.servers.append(self._parts.enter_context(self.server(number)))
        for number in range(len(self.ports)):
            self.servers[number].wait_for_output("The broker answers at tls://")

    def state(self, number: int) -> Path:
        """Return the state directory of one of them."""
        return self._directory / f"broker-{number}"

    def server(self, number: int) -> TowlineProcess:
        """Return one of them, which isn't started yet, with what it needs of the keys."""
        own = self.state(number) / "trust"
        if not own.exists():
            shutil.copytree(
                self.trust.directory, own, ignore=shutil.ignore_patterns("offline", "controller")
            )
            own.parent.chmod(0o700)
        arguments: list[str] = [
            "--listen",
            f"127.0.0.1:{self.ports[number]}",
            "--name",
            f"server-{number}",
        ]
        if self.routes:
            arguments += ["--cluster", f"127.0.0.1:{self.routes[number]}"]
            for port in self.routes:
                if port != self.routes[number]:
                    arguments += ["--route", f"127.0.0.1:{port}"]
        return TowlineProcess(
            *("broker", "--state", str(own.parent), *arguments),
            logs=self._directory,
            name=f"broker-{number}",
            env={"TOWLINE_CONFIG": "/dev/null"},
        )

    @property
    def pid(self) -> int:
        """The process id of the first server, which `towline broker` has started."""
        known = {pid: command_of(pid)[:1] for pid in self.servers[0].survivors()}
        (found,) = (pid for pid, run in known.items() if run and run[0].endswith("nats-server"))
        return found

    @property
    def log(self) -> str:
        """All that the servers have said, over all their starts."""
        return "".join(server.stderr for server in self.servers)

    @property
    def ca(self) -> Path:
        """The certificates to encrypt by."""
        return self.trust.path(CA)

    @property
    def url(self) -> str:
        """All of them, as `--nats` takes them."""
        return ",".join(f"tls://127.0.0.1:{port}" for port in self.ports)

    def prepare(self, state: Path) -> None:
        """Put the keys that controllers need into a state directory."""
        own = Trust(state / "trust")
        if not own.directory.exists():
            for name in names(["controller"]):
                own.path(name).parent.mkdir(0o700, parents=True, exist_ok=True)
                shutil.copy2(self.trust.path(name), own.path(name))
            state.chmod(0o700)

    @property
    def journal_login(self) -> list[str]:
        """What a controller is given to reach it, beside its keys."""
        return ["--nats", self.url]

    def login_of(self, hostname: str) -> list[str]:
        """Return what the agent of one node is given: a login of its own."""
        path = self._directory / f"{hostname}.creds"
        if not path.exists():
            path.touch(0o600)
            path.write_text(self.trust.node_login(hostname))
        return [
            *("--nats", self.url, "--nats-ca", str(self.ca), "--nats-credentials", str(path)),
            *("--job-keys", str(self.publish_job_keys())),
        ]

    def publish_job_keys(self) -> Path:
        """Write by which keys agents know what controllers have signed; return where."""
        publish(load_signer(self.trust.path(JOBS_KEY), create=False), self._directory)
        return self._directory / JOBS_PUBLIC

    def raw(self, credentials: str, *, jwt: str | None = None, number: int = 0) -> Raw:
        """Return a connection to one of them that speaks the protocol by hand."""
        return Raw(self.ports[number], credentials, str(self.ca), jwt=jwt)

    @contextlib.asynccontextmanager
    async def client(self, login: Path, number: int = 0) -> AsyncIterator[Client]:
        """Connect to one of them."""
        context = ssl.create_default_context(cafile=self.ca)
        client = await nats.connect(
            f"tls://127.0.0.1:{self.ports[number]}",
            tls=context,
            user_credentials=str(login),
            allow_reconnect=False,
        )
        try:
            yield client
        finally:
            await client.close()

    def wait_whole(self) -> None:
        """Wait until each of them answers, and all of them store what they are given."""

        async def whole() -> bool:
            try:
                for number in range(len(self.ports)):
                    async with self.client(self.trust.path(JOURNAL_LOGIN), number) as client:
                        streams = client.jetstream(timeout=3)
                        await streams.add_stream(name="WHOLE", num_replicas=len(self.ports))
                        await streams.delete_stream("WHOLE")
            except (nats.errors.Error, OSError):
                return False
            return True

        wait_until(lambda: asyncio.run(whole()), timeout=60, what="a whole cluster")

    def start(self) -> None:
        """Start those that don't run, and wait until they accept connections."""
        start_listening(self.servers, self.ports)

    def stop(self) -> None:
        """Stop all of them."""
        for server in self.servers:
            server.stop()

    def kill(self) -> None:
        """End all of them as the kernel would, with what they have started."""
        for server in self.servers:
            server.kill()
            wait_until(lambda: not server.survivors(), what="the end of the server")  # noqa: B023


async def is_route(port: int, ca: Path, pair: tuple[Path, Path] | None) -> bool:
    """Return whether a broker speaks with whoever shows a certificate as one of its cluster."""
    context = ssl.create_default_context(cafile=ca)
    if pair is not None:
        context.load_cert_chain(*pair)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        return (await asyncio.wait_for(reader.readline(), 20)).startswith(b"INFO ")
    except (ConnectionError, ssl.SSLError):
        return False
    finally:
        writer.close()


async def verifies(port: int, ca: str) -> bool:
    """Return whether whoever knows these certificates takes a server for a broker of the fleet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await reader.readline()
        await writer.start_tls(ssl.create_default_context(cadata=ca))
    except ssl.SSLCertVerificationError:
        return False
    finally:
        writer.close()
    return True


async def until_verified(port: int, ca: str) -> None:
    """Wait until a server shows a certificate that these have signed."""
    async with asyncio.timeout(30):
        while not await verifies(port, ca):
            await asyncio.sleep(0.05)
