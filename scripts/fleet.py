"""Many nodes on one machine: light agents in few processes, with a real broker and controllers."""

import argparse
import asyncio
import gc
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
from tests.testing.assembly import Assembly
from tests.testing.broker import Broker
from tests.testing.own_broker import OwnBroker
from tests.testing.ports import free_port
from tests.testing.process import Failed, Process, TowlineProcess, wait_until

from scripts.instant_engine import InstantEngine
from towline import operations
from towline.agent.agent import Agent
from towline.agent.docker.provider import DockerProvider
from towline.agent.host.facts import gather
from towline.agent.host.provider import HostProvider
from towline.agent.ledger import Ledger
from towline.agent.trust_files import TrustFiles
from towline.broker.settings import Settings
from towline.controller.token_keys import load_keys
from towline.runtime import logs
from towline.runtime.keys import KEY_BYTES, NodeKey
from towline.runtime.process import run
from towline.trust.job_keys import load_verifier
from towline.trust.signing import Verifier
from towline.units import parse_duration
from towline.wire.target import parse_label

T = TypeVar("T")

MEMORY = Path("/dev/shm")
"""Where ledgers are: in reality each node syncs a disk of its own."""
GROUPS = 10
MOST_A_PROCESS = 2500
"""Agents of a process: each takes six file descriptors."""
AT_ONCE = 200
"""Agents of a process that start at the same time."""
CREDS = ".creds"
"""How the files with the nodes' own logins end, which are named by their machine ids."""


def hostname(number: int) -> str:
    """Return the name of a node."""
    return f"node-{number:05}"


def machine_id(number: int) -> str:
    """Return the machine id of a node."""
    return hashlib.md5(hostname(number).encode()).hexdigest()


class AtOnce(Executor):
    """Runs at once what it is given: ledgers in memory need no thread to wait for a disk."""

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except Exception as error:  # noqa: BLE001
            done.set_exception(error)
        return done


def agents(
    first: int,
    count: int,
    url: str,
    credentials: Path,
    job_keys: Path,
    directory: Path,
    interval: float,
    pull: float,
    images: int,
    ca: Path | None,
) -> None:
    """Run agents until asked to stop; a line on standard output says that all have begun.

    Parameters: `credentials` is the login that all share, or the directory where each has its own;
    `interval` is that of the heartbeats and `pull` how long one takes, in seconds; `images` is how
    many each has at first; `ca` are the certificates to encrypt by.
    """
    logs.configure("fleet", "error")
    extra = os.environ.get("TOWLINE_OPERATIONS", "")
    operations.load_extra([module for module in extra.split(",") if module])
    own = credentials.is_dir()

    def load() -> Verifier:
        return load_verifier(job_keys, named=True)

    async def main() -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        # In reality each machine looks at itself.
        found = gather()
        # A node's agent has few objects; thousands of them in one process would have the collector
        # walk through all of them again and again.
        gc.set_threshold(100_000, 50, 100)
        begun = 0
        # Thousands that make their tables would take most of the time until all are here.
        with Ledger(directory / f"of-{first}.sqlite"):
            pass
        empty = (directory / f"of-{first}.sqlite").read_bytes()

        async def one(number: int) -> None:
            engine = InstantEngine(pull, images)
            docker = partial(DockerProvider, engine=engine, named=True, configuration=None)
            path = directory / f"{hostname(number)}.sqlite"
            path.write_bytes(empty)
            machine = machine_id(number)
            login = credentials / f"{machine}{CREDS}" if own else credentials
            settings = Settings([url], login, ca)
            with Ledger(path, AtOnce()) as ledger:
                agent = Agent(
                    settings,
                    ledger,
                    machine=machine,
                    hostname=hostname(number),
                    labels=[parse_label(f"group:g{number % GROUPS}")],
                    providers=[HostProvider, docker],
                    interval=interval,
                    key=NodeKey(os.urandom(KEY_BYTES)),
                    trust=TrustFiles(settings, load),
                    gather=lambda: found,
                    # Thousands of nodes that look at themselves would take all of one machine.
                    probe_every=60.0,
                )
                async with gate:
                    running = asyncio.create_task(agent.run())
                    await agent.ready()
                nonlocal begun
                begun += 1
                if begun == count:
                    gc.freeze()
                    print("all here", flush=True)
                await running

        async with asyncio.TaskGroup() as group:
            for number in range(first, first + count):
                group.create_task(one(number))

    run(main)


class Fleet(Assembly):
    """A broker, controllers and `nodes` light agents.

    Parameters: `directory` holds state and logs, `processes` share the agents among them,
    `heartbeat` is a duration, `pull` how long one takes, `images` how many each has at first, and
    `settings` are those of the controllers, by key. With `own_logins` the broker is `towline
    broker`, encrypted, and each node has a login of its own, as controllers sign them; else all
    share a password.
    """

    def __init__(
        self,
        directory: Path,
        nodes: int,
        *,
        controllers: int = 1,
        processes: int | None = None,
        heartbeat: str = "5s",
        pull: str = "0s",
        images: int = 0,
        settings: Mapping[str, str] | None = None,
        own_logins: bool = False,
    ) -> None:
        super().__init__()
        self.directory = directory
        self.nodes = nodes
        self._controllers = controllers
        self._processes = processes or max(2, -(-nodes // MOST_A_PROCESS))
        self._heartbeat = heartbeat
        self._pull = pull
        self._images = images
        self._own_logins = own_logins
        self._env = {"TOWLINE_HEARTBEAT": heartbeat}
        self._env |= {f"TOWLINE_{key.upper()}": value for key, value in (settings or {}).items()}
        self.controllers: list[TowlineProcess] = []
        self.clients: list[httpx.Client] = []
        self.urls: list[str] = []
        self.workers: list[Process] = []

    def _start(self) -> None:
        made = OwnBroker if self._own_logins else Broker
        self.broker: Broker = self._parts.enter_context(made(self.directory))
        key = self.directory / "token.key"
        self.token = load_keys(key, create=True).create(
            subject="fleet", roles=["admin"], lifetime=86400
        )
        for number in range(self._controllers):
            listen, name = f"127.0.0.1:{free_port()}", f"controller-{number}"
            self.broker.prepare(self.directory / name)
            controller = TowlineProcess(
                *("controller", "--state", self.directory / name, "--listen", listen),
                *self.broker.journal_login,
                *("--token-key", key, "--log-level", "warning"),
                logs=self.directory,
                name=name,
                env=self._env,
            )
            self.controllers.append(self._parts.enter_context(controller))
            controller.wait_for_output("answers at")
            self.urls.append(f"http://{listen}")
            client = httpx.Client(
                base_url=self.urls[-1],
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=300,
            )
            self.clients.append(self._parts.enter_context(client))
        self.ledgers = Path(
            self._parts.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="towline-fleet-", dir=MEMORY if MEMORY.is_dir() else self.directory
                )
            )
        )
        credentials, job_keys, ca = self._logins()
        share = -(-self.nodes // self._processes)
        for first in range(0, self.nodes, share):
            worker = Process(
                f"agents-{first}",
                [
                    *(sys.executable, "-m", "scripts.fleet", "--worker", str(first)),
                    *(str(min(share, self.nodes - first)), self.broker.url),
                    *(credentials, job_keys, self.ledgers, self._heartbeat, self._pull),
                    *(str(self._images), ca or ""),
                ],
                logs=self.directory,
            )
            self.workers.append(self._parts.enter_context(worker))

    def _logins(self) -> tuple[Path, Path, Path | None]:
        """Return what agents log in with, the keys of those they obey, and whose broker it is."""
        if not isinstance(self.broker, OwnBroker):
            return self.broker.logins.agents, self.broker.job_keys, None
        for number in range(self.nodes):
            path = self.ledgers / f"{machine_id(number)}{CREDS}"
            path.touch(0o600)
            path.write_text(self.broker.trust.node_login(machine_id(number)))
        return self.ledgers, self.broker.publish_job_keys(), self.broker.ca

    def here(self, client: httpx.Client) -> int:
        """Return how many nodes a controller counts as here."""
        known = client.get("/agent").json()["agents"]
        return sum(node["status"] == "Ready" for node in known)

    def wait_until_here(self, timeout: float = 900.0) -> float:
        """Wait until every controller counts all nodes as here; return the seconds it took."""
        begun = time.monotonic()
        for worker in self.workers:
            # To ask the controllers meanwhile would slow them down.
            worker.wait_for_output("all here", timeout=timeout)
        for client in self.clients:

            def complete(client: httpx.Client = client) -> bool:
                time.sleep(0.1)
                return self.here(client) == self.nodes

            wait_until(complete, timeout=timeout, what=f"{self.nodes} nodes to be here")
        return time.monotonic() - begun


def main() -> int:
    """Run a fleet until interrupted; return the exit status."""
    if sys.argv[1:2] == ["--worker"]:
        first, count, url, credentials, job_keys, directory, *others = sys.argv[2:]
        heartbeat, pull, images, ca = others
        agents(
            *(int(first), int(count), url, Path(credentials), Path(job_keys), Path(directory)),
            *(parse_duration(heartbeat), parse_duration(pull), int(images)),
            Path(ca) if ca else None,
        )
        return 0
    arguments = argparse.ArgumentParser(prog="scripts/fleet", description=__doc__)
    arguments.add_argument("nodes", type=int, metavar="N")
    arguments.add_argument("--controllers", type=int, default=1, metavar="COUNT")
    arguments.add_argument("--processes", type=int, metavar="COUNT")
    arguments.add_argument("--heartbeat", default="5s", metavar="DURATION")
    arguments.add_argument("--pull", default="0s", metavar="DURATION")
    arguments.add_argument(
        "--images", type=int, default=0, metavar="COUNT", help="that each node has at first"
    )
    arguments.add_argument(
        "--own-logins", action="store_true", help="encrypted, and each node with a login of its own"
    )
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="towline-fleet-") as directory:
        fleet = Fleet(
            Path(directory),
            options.nodes,
            controllers=options.controllers,
            processes=options.processes,
            heartbeat=options.heartbeat,
            pull=options.pull,
            images=options.images,
            own_logins=options.own_logins,
        )
        try:
            with fleet:
                seconds = fleet.wait_until_here()
                print(f"{options.nodes} nodes are here, after {seconds:.1f} s", flush=True)
                for url in fleet.urls:
                    print(f"export TOWLINE_URL={url} TOWLINE_TOKEN={fleet.token}", flush=True)
                print("^C ends it", flush=True)
                while True:
                    time.sleep(3600)
        except KeyboardInterrupt:
            return 0
        except Failed as failure:
            print(f"The fleet failed: {failure}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
