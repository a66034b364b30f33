"""A NATS cluster of three servers on loopback, with a relay on each way between two of them."""

import asyncio
import json
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from tests.testing.assembly import Assembly
from tests.testing.broker import ACCOUNTS, Broker, Logins
from tests.testing.ports import free_port
from tests.testing.process import Process, start_listening, wait_until
from tests.testing.relay import Relay
from tests.testing.signing import write_keys
from towline.runtime.nats_server import server_program

SIZE = 3
_USER, _PASSWORD = "tests", "broker-secret"


class _Relays:
    """Relays in an event loop and a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._relays: list[Relay] = []

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def add(self, upstream: int) -> Relay:
        relay = Relay(upstream)
        self._run(relay.__aenter__())
        self._relays.append(relay)
        return relay

    def part(self, relays: list[Relay], parted: bool) -> None:
        async def change() -> None:
            for relay in relays:
                relay.silent = parted
                if parted:
                    relay.stall()
                else:
                    relay.cut()

        self._run(change())

    def close(self) -> None:
        for relay in self._relays:
            self._run(relay.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class NatsCluster(Broker):
    """Three nats-servers that are one broker.

    `servers` are their processes; `isolate` parts one from the others as a pulled cable would, its
    clients excepted, and `rejoin` mends that.

    Parameters: `directory` holds their data, configuration, credentials and logs.
    """

    def __init__(self, directory: Path) -> None:
        Assembly.__init__(self)
        self.logins = Logins(directory)
        self.job_key, self.job_keys = write_keys(directory)
        self.ports = [free_port() for _ in range(SIZE)]
        self._directory = directory
        self._routes = [free_port() for _ in range(SIZE)]
        self._between: dict[tuple[int, int], Relay] = {}
        self.servers: list[Process] = []

    def _start(self) -> None:
        relays = _Relays()
        self._parts.callback(relays.close)
        self._relays = relays
        for one in range(SIZE):
            for other in range(SIZE):
                if one != other:
                    self._between[one, other] = relays.add(self._routes[other])
        for number in range(SIZE):
            self.servers.append(self._parts.enter_context(self._server(number)))
        self.wait_whole()

    def _server(self, number: int) -> Process:
        name = f"nats-{number}"
        routes = [relay.port for (one, _), relay in self._between.items() if one == number]
        urls = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        configuration = self._directory / f"{name}.conf"
        # The addresses that servers give each other lead nowhere: all ways are those by relay.
        configuration.write_text(
            f"""\
server_name: {name}
listen: "127.0.0.1:{self.ports[number]}"
max_payload: 8388608
ping_interval: "20s"
{ACCOUNTS}
jetstream {{ store_dir: {json.dumps(str(self._directory / name))}, sync_interval: always }}
cluster {{
  name: tests, listen: "127.0.0.1:{self._routes[number]}", advertise: "127.0.0.1:1"
  no_advertise: true, routes: [{urls}]
}}
"""
        )
        return Process(name, [server_program(), "-c", configuration], logs=self._directory)

    @property
    def url(self) -> str:
        """All of them, as `--nats` takes them."""
        return ",".join(f"nats://127.0.0.1:{port}" for port in self.ports)

    def isolate(self, number: int) -> None:
        """Part a server from the others."""
        self._relays.part(self._around(number), True)

    def rejoin(self, number: int) -> None:
        """Let it find the others again."""
        self._relays.part(self._around(number), False)

    def _around(self, number: int) -> list[Relay]:
        return [relay for ends, relay in self._between.items() if number in ends]

    def start(self) -> None:
        """Start those that don't run."""
        start_listening(self.servers, self.ports)

    def stop(self) -> None:
        """Stop all of them."""
        for server in self.servers:
            server.stop()

    def call(self, subject: str, server: int | None = None) -> dict[str, Any]:
        """Call JetStream's API by way of a server, or of any, and return its answer."""

        async def ask() -> dict[str, Any]:
            ports = self.ports if server is None else [self.ports[server]]
            client = Client()
            await client.connect(
                [f"nats://127.0.0.1:{port}" for port in ports],
                user=_USER,
                password=_PASSWORD,
                connect_timeout=2,
                max_reconnect_attempts=1,
            )
            try:
                answer = await client.request(f"$JS.API.{subject}", b"", timeout=3)
                found: dict[str, Any] = json.loads(answer.data)
                return found
            finally:
                await client.close()

        try:
            return asyncio.run(ask())
        except (nats.errors.Error, OSError) as error:
            return {"error": {"description": repr(error)}}

    def leader(self, stream: str = "CHANGES") -> int | None:
        """Return which server leads a stream, or None while none does."""
        found = self.call(f"STREAM.INFO.{stream}").get("cluster", {}).get("leader")
        return None if not found else int(found.rpartition("-")[2])

    def wait_whole(self) -> None:
        """Wait until all servers run and have all that the streams hold."""

        def whole() -> bool:
            for server in range(SIZE):
                listed = self.call("STREAM.LIST", server)
                if "error" in listed or listed.get("missing"):
                    return False
            streams = [found.get("cluster", {}) for found in listed.get("streams", [])]
            return all(
                cluster.get("leader")
                and all(peer["current"] and not peer.get("offline") for peer in cluster["replicas"])
                for cluster in streams
            )

        wait_until(whole, timeout=60, what="a whole cluster")

    def last_sequence(self, stream: str) -> int:
        """Return how many messages a stream has ever been given."""
        return int(self.call(f"STREAM.INFO.{stream}")["state"]["last_seq"])
