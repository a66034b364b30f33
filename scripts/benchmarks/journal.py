"""What a journal of many jobs costs: questions over HTTP, a controller's start, and disk space."""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import uvloop
from nats.aio.msg import Msg
from tests.testing.process import Failed, wait_until

from scripts.benchmarks.document import goal, say
from scripts.benchmarks.load import Exchange, at_once, request
from scripts.fleet import Fleet, hostname
from towline.broker.connection import Connection
from towline.broker.settings import Settings
from towline.wire.event import COMPLETED, FAILED, Event
from towline.wire.job import CONVERGE, Job, PlannedNode, new_id
from towline.wire.subjects import REPORTED, job_subject

JOBS_MADE = 100_000
LARGE = 10_000
"""Nodes of the one job amid the others that is for all."""
STRANGERS = 500
"""Nodes that the others are for; none of them is there."""
GROUP = 20
"""Ends that stand in one message."""
WINDOW = 2000
"""Messages on their way to the broker at a time."""
ASKED = 200
BOUNDED_SIZE = "32MiB"
BOUNDED_AGE = "10s"
BOUNDED_NODES = 4
BOUNDED_JOBS = 10_000
"""Jobs between looks at the files."""
BOUNDED_LOOKS = 8
CLIENTS = 16


def messages(count: int) -> Iterator[tuple[str, bytes, str]]:
    """Yield subject, body and message id of `count` jobs and their ends, a large one amid.

    The ends stand in groups of `GROUP`, as those of nodes that report at the same time do.
    """
    choose = random.Random(1)
    encode = msgspec.json.encode
    ends: list[Event] = []
    for number in range(1, count + 1):
        large = number == count // 2
        now = time.time()
        machines = [f"{node:032x}" for node in range(LARGE)]
        if not large:
            machines = [f"{number % STRANGERS:032x}"]
        job = Job(
            id=new_id(),
            operation=choose.choice(["docker.pull.execute", "docker.list.get", "node.load.get"]),
            parameters={"image": "nginx:1.27"},
            target="_all" if large else f"stranger-{number % STRANGERS}",
            caller=f"caller-{number % 20}",
            created=now,
            expires=now + 86400,
            effect=CONVERGE,
            plan=[PlannedNode(each, f"stranger-{each}") for each in machines],
            nodes=len(machines),
        )
        yield job_subject(job.id), encode(job), job.id
        kind = COMPLETED if large else choose.choice([COMPLETED] * 9 + [FAILED])
        ends += [Event(job.id, each, f"stranger-{each}", kind, now, data={}) for each in machines]
        if len(ends) >= GROUP or number == count:
            for first in range(0, len(ends), GROUP):
                yield REPORTED, encode(ends[first : first + GROUP]), f"{job.id}.{first}"
            ends = []


async def fill(broker: Settings, count: int) -> int:
    """Put `count` jobs and their events into the journal; return how many messages that were."""
    stored, room = 0, asyncio.Semaphore(WINDOW)
    refused: list[bytes] = []

    async def acknowledged(message: Msg) -> None:
        nonlocal stored
        stored += 1
        if b'"error"' in message.data:
            refused.append(message.data)
        room.release()

    async with Connection(broker, "bench") as connection:
        client = await connection.client()
        inbox = client.new_inbox()
        await client.subscribe(inbox, cb=acknowledged)
        sent = 0
        for subject, body, name in messages(count):
            await room.acquire()
            await client.publish(subject, body, reply=inbox, headers={"Nats-Msg-Id": name})
            sent += 1
        for _ in range(WINDOW):
            await room.acquire()
    if refused or stored != sent:
        raise Failed(f"{sent} messages sent, {stored} acknowledged, refused: {refused[:1]}")
    return sent


def fill_fleet(fleet: Fleet, count: int = JOBS_MADE) -> int:
    """Fill a fleet's journal and wait until its controllers know all; return the messages."""
    before = [total(client) for client in fleet.clients]
    sent = asyncio.run(fill(Settings([fleet.broker.url], fleet.broker.credentials), count))
    for client, known in zip(fleet.clients, before, strict=True):

        def complete(client: httpx.Client = client, known: int = known) -> bool:
            time.sleep(0.2)
            return total(client) >= known + count

        wait_until(complete, timeout=300, what="all jobs in the index")
    return sent


def total(client: httpx.Client) -> int:
    """Return how many jobs a controller knows."""
    found = client.get("/job", params={"limit": 1}).raise_for_status().json()
    return int(found["total_items"])


def asked(client: httpx.Client, **query: str | int) -> tuple[int, float]:
    """Return how many jobs answer a question, and the median milliseconds of its first page."""
    taken = []
    for _ in range(ASKED):
        begun = time.perf_counter()
        answer = client.get("/job", params={"limit": 10, **query})
        taken.append(time.perf_counter() - begun)
    return int(answer.raise_for_status().json()["total_items"]), 1000 * statistics.median(taken)


def ready_after(fleet: Fleet) -> float:
    """Start the controller that was stopped; return the seconds until it knows all and says so."""
    controller, client = fleet.controllers[0], fleet.clients[0]
    begun = time.perf_counter()
    controller.start()

    def ready() -> bool:
        try:
            return client.get("/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    controller.wait_for(ready, timeout=300, what="the controller to be ready")
    return time.perf_counter() - begun


def measure_questions() -> tuple[list[list[str]], list[list[str]]]:
    """Return rows of goals, and of the times that questions over HTTP take."""
    say(f"A journal of {JOBS_MADE:,} jobs ...")
    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Fleet(Path(directory), 2, heartbeat="1s") as fleet,
    ):
        fleet.wait_until_here()
        sent = fill_fleet(fleet)
        client = fleet.clients[0]
        questions: dict[str, dict[str, str | int]] = {
            "all": {},
            "status": {"status": "failed"},
            "operation, status": {"operation": "docker.pull.execute", "status": "failed"},
            "caller, status": {"caller": "caller-3", "status": "completed"},
            "target": {"target": "stranger-3"},
            "target, status": {"target": "stranger-3", "status": "failed"},
            "since": {"since": "2000-01-01T00:00:00Z"},
        }
        rows, slowest = [], 0.0
        for name, query in questions.items():
            found, taken = asked(client, **query)
            slowest = max(slowest, taken)
            rows.append([name, f"{found:,}", f"{taken:.2f}"])
        starts, rebuilds = [], []
        index = fleet.directory / "controller-0" / "index.sqlite"
        for _ in range(3):
            fleet.controllers[0].stop()
            starts.append(ready_after(fleet))
        for _ in range(3):
            fleet.controllers[0].stop()
            for file in index.parent.glob("index.sqlite*"):
                file.unlink()
            rebuilds.append(sent / ready_after(fleet))
            if total(client) < JOBS_MADE:
                raise Failed("the rebuilt index lacks jobs")
    start, rebuild = statistics.median(starts), statistics.median(rebuilds)
    goals = [
        goal(f"first page and total of {JOBS_MADE:,} jobs, the slowest", slowest, "ms", most=5),
        goal("a controller's start with its index", start, "s", most=2),
        goal("a controller's start without: messages folded", rebuild, "/s", least=20_000),
    ]
    return goals, rows


def bytes_in(path: Path, pattern: str) -> int:
    """Return the size of all files below a directory whose names match."""
    found = 0
    for file in path.rglob(pattern):
        try:
            found += file.stat().st_size
        except FileNotFoundError:
            # Dropped by the broker since.
            continue
    return found


def measure_bounds(**settings: str) -> list[list[str]]:
    """Return rows with the size of each file as ever more jobs are done under some settings."""
    say(f"Ever more jobs, kept under {settings} ...")
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Fleet(Path(directory), BOUNDED_NODES, heartbeat="1s", settings=settings) as fleet,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        fleet.wait_until_here()
        port = int(fleet.urls[0].rpartition(":")[2])
        authorization = f"Authorization: Bearer {fleet.token}"
        pulls = [
            request(
                "POST",
                f"/node/{hostname(number)}/container/docker/pull",
                authorization,
                "Content-Type: application/json",
                body='{"image": "nginx:1.27"}',
            )
            for number in range(BOUNDED_NODES)
        ]
        exchange = Exchange(port, [[(each, 202, b'"ok"')] for each in pulls])
        for look in range(1, BOUNDED_LOOKS + 1):
            runner.run(at_once(exchange, CLIENTS, count=BOUNDED_JOBS))
            time.sleep(2)
            sizes = [
                bytes_in(fleet.directory / "data", "*.blk"),
                bytes_in(fleet.directory / "controller-0", "index.sqlite*"),
                bytes_in(fleet.ledgers, f"{hostname(0)}.sqlite*"),
            ]
            kept = total(fleet.clients[0])
            cells = [f"{look * BOUNDED_JOBS:,}", f"{kept:,}"]
            rows.append(cells + [f"{size / 1024**2:.1f}" for size in sizes])
    return rows
