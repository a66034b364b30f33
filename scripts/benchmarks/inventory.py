"""What inventories cost a controller: memory, the fold, the routes, and a restart.

A real broker and a real controller; the nodes are what they would send, from one process.
"""

import argparse
import asyncio
import hashlib
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from tests.testing.broker import AGENTS_PASSWORD, AGENTS_USER, Broker
from tests.testing.ports import free_port
from tests.testing.process import Failed, TowlineProcess

from scripts.benchmarks.document import goal, milliseconds, say, table
from scripts.benchmarks.machine import cpu_seconds, resident
from scripts.fleet import GROUPS, hostname, machine_id
from towline.broker.listener import Received
from towline.controller.budget import Budget
from towline.controller.fleet import Fleet
from towline.controller.inventory.inventories import Inventories
from towline.controller.jobs.index import Index
from towline.controller.token_keys import load_keys
from towline.trust.signing import Signer
from towline.wire.inventory import ImageHeld, Inventory, hash_of
from towline.wire.node import Heartbeat, Registration

IMAGES, DISTINCT, KINDS = 60, 300, 10
"""Images of each node, images that there are in all, and kinds of nodes, which have the same."""
MOST_USED = 5
"""Containers of an image are fewer than that, drawn for each image of each node."""
INTERVAL = 60.0
"""Seconds between heartbeats, as many nodes have them here."""
SENT_PER_SECOND = 250
"""Inventories that are sent a second: somewhat more than controllers ask for."""
ASKED = 100
"""Requests of each kind."""
START = "1" * 16
FOLDED = 2000
"""Reports that are folded in this process."""


def image(number: int) -> ImageHeld:
    """Return an image, of which no container is made."""
    text = hashlib.sha256(str(number).encode()).hexdigest()
    repository = f"registry.example/team-{number % 20}/service-{number // 2}"
    return ImageHeld(
        f"sha256:{text[::-1]}",
        [f"{repository}@sha256:{text}"],
        [f"{repository}:1.{number % 2}", f"{repository}:latest"][: 1 + number % 2],
        "linux/amd64",
        50_000_000 + number,
        1_700_000_000.0 + number,
    )


def inventory(number: int) -> Inventory:
    """Return all that a node has."""
    draw = random.Random(number)
    kind = random.Random(number % KINDS)
    images = [
        msgspec.structs.replace(image(each), used=draw.randrange(MOST_USED))
        for each in kind.sample(range(DISTINCT), IMAGES)
    ]
    return Inventory(START, hash_of(images), "", images)


class Nodes:
    """What many nodes send, over one connection.

    Attributes:
        asked: how often one of them was asked for what it has.

    Parameters: `count` of them.
    """

    def __init__(self, client: Client, count: int) -> None:
        self._client = client
        self.count = count
        self.asked = 0
        self.hashes = [""] * count

    async def register(self, numbers: Sequence[int]) -> None:
        """Have some of them registered."""
        now = time.time()
        for number in numbers:
            machine = machine_id(number)
            labels = {"group": f"g{number % GROUPS}"}
            found = Registration(
                machine, hostname(number), "0.2.0", now, labels=labels, start=START
            )
            inbox = f"_INBOX.{machine}.1"
            body = msgspec.json.encode(found)
            await self._client.publish(f"ask.{machine}.register", body, inbox)
            if number % 100 == 0:
                await asyncio.sleep(0.2)  # each is stored and synced
        await self._client.flush()

    async def beat(self) -> None:
        """Send the heartbeats of all of them, spread over their interval, for ever."""
        number = 0
        while True:
            for _ in range(10):
                await self._beat(number % self.count)
                number += 1
            await asyncio.sleep(10 * INTERVAL / 2 / self.count)

    async def _beat(self, number: int) -> None:
        found = Heartbeat(
            START, INTERVAL, capabilities={"docker": ""}, inventory=self.hashes[number]
        )
        await self._client.publish(f"beat.{machine_id(number)}", msgspec.json.encode(found))

    async def beat_all(self) -> None:
        """Send a heartbeat of each, now."""
        for number in range(self.count):
            await self._beat(number)
            if number % 100 == 0:
                await asyncio.sleep(0.01)

    async def say(self, number: int, found: Inventory) -> None:
        """Send what one of them has."""
        self.hashes[number] = found.hash
        subject = f"inventory.{machine_id(number)}"
        await self._client.publish(subject, msgspec.json.encode(found))

    async def say_all(self) -> None:
        """Send all that each of them has."""
        for number in range(self.count):
            await self.say(number, inventory(number))
            await asyncio.sleep(1 / SENT_PER_SECOND)

    async def count_asked(self, message: Msg) -> None:
        """Take an order."""
        self.asked += message.subject.split(".")[1] != "_all"


@asynccontextmanager
async def nodes_at(broker: Broker, count: int) -> AsyncIterator[Nodes]:
    """Connect nodes to a broker."""
    client = await nats.connect(broker.url, user=AGENTS_USER, password=AGENTS_PASSWORD)
    try:
        nodes = Nodes(client, count)
        await client.subscribe("task.*.*", cb=nodes.count_asked)
        yield nodes
    finally:
        await client.close()


async def wait(holds: Callable[[], object], what: str, timeout: float = 300.0) -> float:
    """Wait until something is so; return the seconds it took."""
    begun = time.monotonic()
    while not await asyncio.to_thread(holds):
        if time.monotonic() - begun > timeout:
            raise Failed(f"it took too long: {what}")
        await asyncio.sleep(0.1)
    return time.monotonic() - begun


def times(client: httpx.Client, path: str, headers: dict[str, str]) -> list[float]:
    """Return how long each of some requests takes, in seconds."""
    taken = []
    for _ in range(ASKED):
        begun = time.perf_counter()
        client.get(path, headers=headers).raise_for_status()
        taken.append(time.perf_counter() - begun)
    return taken


ROUTES = (
    "/version",
    "/image",
    "/image?reference=registry.example/team-1/service-10",
    "/image?unused=true",
    "/image?drift=true",
    f"/image?node={hostname(7)}",
    "/image/nodes?reference=registry.example/team-1/service-10:1.1",
    "/image/nodes?reference=registry.example/team-1/service-10:1.1&state=none",
    "/image/nodes?reference=registry.example/team-1/service-10:1.1&target=group:g3",
)


async def measure(count: int, directory: Path) -> list[list[str]]:
    """Measure a controller of so many nodes; return rows with the figures and their goals."""
    keys = load_keys(directory / "token.key", create=True)
    wide = keys.create(subject="bench", roles=["admin"], lifetime=86400)
    narrow = keys.create(
        subject="narrow", roles=[], permissions=["docker:read@group:g3"], lifetime=86400
    )
    listen = f"127.0.0.1:{free_port()}"
    rows: list[list[str]] = []
    with Broker(directory) as broker:
        broker.prepare(directory / "controller")
        controller = TowlineProcess(
            *("controller", "--state", directory / "controller", "--listen", listen),
            *broker.journal_login,
            *("--token-key", directory / "token.key", "--log-level", "warning"),
            logs=directory,
            name="controller",
        )
        with (
            controller,
            httpx.Client(
                base_url=f"http://{listen}",
                headers={"Authorization": f"Bearer {wide}"},
                timeout=60,
            ) as client,
        ):
            controller.wait_for_output("answers at")

            def unknown() -> int:
                return int(client.get("/image?limit=1").json().get("unknown", 0))

            async with nodes_at(broker, count) as nodes:
                await registered(nodes, client)
                await nodes.beat_all()
                beating = asyncio.create_task(nodes.beat())
                say(f"registered {count}")
                await wait(lambda: unknown() == count, "nodes registered")
                await asyncio.sleep(2)
                before, cpu = resident(controller.pid), cpu_seconds(controller.pid)
                begun = time.monotonic()
                await nodes.say_all()
                await wait(lambda: unknown() == 0, "inventories known")
                took, cpu = time.monotonic() - begun, cpu_seconds(controller.pid) - cpu
                say(f"{count} inventories in {took:.0f} s, {cpu:.1f} s of CPU")
                rows.append(
                    goal(
                        "memory with inventories, in all",
                        resident(controller.pid),
                        "MiB",
                        most=250,
                    )
                )
                rows.append(["memory without any inventory", f"{before:.0f} MiB", "", ""])
                rows.append(
                    goal(
                        "CPU a full report, with all else meanwhile",
                        1000 * cpu / count,
                        "ms",
                        most=2,
                    )
                )
                for path in ROUTES:
                    for caller, token in (("", wide), (", narrowed", narrow)):
                        headers = {"Authorization": f"Bearer {token}"}
                        if caller and f"node={hostname(7)}" in path:
                            continue
                        spent = cpu_seconds(controller.pid)
                        taken = await asyncio.to_thread(times, client, path, headers)
                        spent = 1000 * (cpu_seconds(controller.pid) - spent) / ASKED
                        name = f"`GET {path}`{caller}, p50 ({spent:.1f} ms of CPU)"
                        rows.append(goal(name, milliseconds(taken), "ms", most=10))
                        say(" ".join(rows[-1]))
                rows += await changes(nodes, client)
                asked = nodes.asked
                controller.stop()
                begun = time.monotonic()
                controller.start()
                controller.wait_for_output("answers at")
                await wait(lambda: unknown() == 0, "inventories known again")
                known = time.monotonic() - begun
                rows.append(
                    ["from a restart until all is known", f"{known:.1f} s", "", ""],
                )
                await asyncio.sleep(INTERVAL / 2 + 2)
                rows.append(goal("nodes asked after it", nodes.asked - asked, most=0))
                rows.append(goal("memory after it", resident(controller.pid), "MiB", most=250))
                beating.cancel()
    return rows


async def registered(nodes: Nodes, client: httpx.Client) -> None:
    """Have all nodes registered, also those that the controller didn't hear at once."""
    missing = list(range(nodes.count))
    while missing:
        await nodes.register(missing)
        await asyncio.sleep(2)
        listed = await asyncio.to_thread(client.get, "/agent?brief=true")
        known = {each["machine_id"] for each in listed.json()["agents"]}
        missing = [number for number in missing if machine_id(number) not in known]
        say(f"{len(missing)} nodes are not registered yet")


async def changes(nodes: Nodes, client: httpx.Client) -> list[list[str]]:
    """Measure how long after a node has sent a change a controller shows it."""
    taken = []
    for number in range(20):
        found = inventory(number)
        new = image(DISTINCT + number)
        images = [*found.images, new]
        change = Inventory(START, hash_of(images), found.hash, [new])
        digest = new.digests[0].partition("@")[2]
        begun = time.perf_counter()
        await nodes.say(number, change)
        path = f"/image?digest={digest}"
        while not (await asyncio.to_thread(client.get, path)).json()["total"]:
            await asyncio.sleep(0)
        taken.append(time.perf_counter() - begun)
    return [goal("a change, until it is shown, the longest", 1000 * max(taken), "ms", most=3000)]


async def measure_parts(count: int, directory: Path) -> list[list[str]]:
    """Measure the fold and what is kept, in this process; return rows as `measure`."""
    from tests.testing.doubles import ConnectionDouble

    def made(index: Index) -> tuple[Fleet, Inventories]:
        fleet = Fleet()
        signer = Signer([bytes(range(32))])
        return fleet, Inventories(
            *(ConnectionDouble(), signer, fleet, Budget(), index, asyncio.Event())
        )

    with Index(directory / "index.sqlite") as index:
        fleet, inventories = made(index)
        taken = []
        for number in range(count):
            machine = machine_id(number)
            fleet.register(Registration(machine, hostname(number), "0.2.0", time.time()))
            fleet.receive(machine, Heartbeat(START, INTERVAL))
            data = msgspec.json.encode(inventory(number))
            begun = time.thread_time()
            inventories._receive(Received(f"inventory.{machine}", data, ""))
            taken.append(time.thread_time() - begun)
        stalls: list[float] = []
        keeping = await _beside(inventories.keep(), stalls)
        rows = [
            goal("a full report folded, p50 of the CPU time", milliseconds(taken), "ms", most=2),
            goal("a full report folded, p99", milliseconds(taken, 99), "ms", most=2),
            ["all kept", f"{keeping:.2f} s", "", ""],
            ["others waited meanwhile, at most", f"{1000 * max(stalls):.0f} ms", "", ""],
        ]
        rows.append(["images kept in memory", f"{len(inventories.rows):,}", "", ""])
    size = (directory / "index.sqlite").stat().st_size / 2**20
    with Index(directory / "index.sqlite") as index:
        _, inventories = made(index)
        stalls = []
        reading = await _beside(inventories._read(), stalls)
        assert len(inventories.rows) > DISTINCT
    return [
        *rows,
        ["all read at a restart", f"{reading:.2f} s, {size:.0f} MiB", "", ""],
        ["others waited meanwhile, at most", f"{1000 * max(stalls):.0f} ms", "", ""],
    ]


async def _beside(work: object, stalls: list[float]) -> float:
    """Do something and note how long others had to wait for their turns; return its seconds."""

    async def tick() -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0)
            stalls.append(time.perf_counter() - begun)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    begun = time.perf_counter()
    await work  # type: ignore[misc]
    taken = time.perf_counter() - begun
    ticking.cancel()
    return taken


def main() -> int:
    """Measure and print; return the exit status."""
    arguments = argparse.ArgumentParser(prog="scripts/bench --inventory", description=__doc__)
    arguments.add_argument("--nodes", type=int, default=10_000, metavar="N")
    arguments.add_argument("--parts", action="store_true", help="measure the parts alone")
    options = arguments.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="towline-bench-") as directory:
            rows = asyncio.run(measure_parts(options.nodes, Path(directory)))
            say("\n".join(map(" ".join, rows)))
            if not options.parts:
                rows += asyncio.run(measure(options.nodes, Path(directory)))
    except (Failed, OSError) as failure:
        print(f"The benchmark failed: {failure}", file=sys.stderr)
        return 1
    print("\n".join(table(["", "measured", "goal", ""], rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
