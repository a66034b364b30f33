"""What scripts/bench --fleet measures: many nodes, many jobs. All parts are gone when it ends."""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import uvloop
from tests.parts.process import Failed

from scripts.bench import (
    Exchange,
    at_once,
    cpu_seconds,
    describe_system,
    goal,
    in_turn,
    milliseconds,
    request,
    resident,
    say,
    table,
)
from scripts.fleet import Fleet
from towline.index import Filter, Index
from towline.job import COMPLETED, FAILED, PLANNED, Event, Job, PlannedNode, new_id
from towline.journal import EVENTS, JOBS

DOCUMENT = Path(__file__).parents[1] / "docs/benchmarks-fleet.md"
REPEATS = 7
CLIENTS = 16
ANY_NODES = 150
INDEXED = 100_000
WAVE_NODES, WAVE_PARALLEL, WAVE_PULL = 1000, 50, 0.5
WAVE_REPEATS = 3
WAVE_GOAL = 10
"""Per cent that a wave may take beyond nodes / nodes at a time x one pull."""
GOALS = {100: 0.1, 1000: 0.6, 10_000: 6.0}
"""Seconds within which all of so many nodes have answered."""


def broadcasts(fleet: Fleet) -> tuple[list[float], list[float]]:
    """Return the seconds that `_all` reads and `_all` pulls take until their last result."""
    client = fleet.clients[0]
    taken: tuple[list[float], list[float]] = ([], [])
    headers = {"Prefer": "wait=300"}
    for _ in range(REPEATS):
        for kind, seconds in enumerate(taken):
            begun = time.perf_counter()
            if kind == 0:
                answer = client.get("/node/_all/load", headers=headers)
            else:
                body = {"image": "nginx:1.27"}
                answer = client.post("/node/_all/container/docker/pull", json=body, headers=headers)
            seconds.append(time.perf_counter() - begun)
            results = answer.json()["results"]
            if [result["status"] for result in results] != ["ok"] * fleet.nodes:
                raise Failed(f"not all of {fleet.nodes} nodes answered well")
    return taken


def measure_broadcast(nodes: int) -> tuple[list[str], list[list[str]]]:
    """Return a row of figures for so many nodes, and rows of goals."""
    say(f"{nodes:,} nodes ...")
    with tempfile.TemporaryDirectory(prefix="towline-bench-") as directory:
        heartbeat = f"{max(5, nodes // 500)}s"
        with Fleet(Path(directory), nodes, heartbeat=heartbeat) as fleet:
            begun = time.perf_counter()
            fleet.wait_until_here()
            started = time.perf_counter() - begun
            broker = fleet.broker.process.pid
            before = cpu_seconds(broker)
            reads, pulls = broadcasts(fleet)
            spent = (cpu_seconds(broker) - before) / (2 * REPEATS)
            memory = [resident(broker), resident(fleet.controllers[0].pid)]
    read, pull = statistics.median(reads), statistics.median(pulls)
    goals = []
    if nodes in GOALS:
        goals.append(goal(f"`_all` read, {nodes:,} nodes", read, "s", most=GOALS[nodes]))
    figures = [read, pull, spent, started]
    row = [f"{nodes:,}", *(f"{f:.2f}" for f in figures), *(f"{m:.0f}" for m in memory)]
    return row, goals


def measure_any() -> list[list[str]]:
    """Return rows of goals for jobs for any node."""
    say(f"_any of {ANY_NODES} nodes ...")
    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Fleet(Path(directory), ANY_NODES) as fleet,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        fleet.wait_until_here()
        port = int(fleet.urls[0].rpartition(":")[2])
        asked = request("GET", "/node/_any/load", f"Authorization: Bearer {fleet.token}")
        exchange = Exchange(port, [[(asked, 200, b'"ok"')]])
        (one,) = runner.run(in_turn([exchange], 500))
        taken, elapsed = runner.run(at_once(exchange, CLIENTS, seconds=5))
    return [
        goal(f"`_any` of {ANY_NODES} nodes, one client: p50", milliseconds(one), "ms", most=5),
        goal(f"`_any`, {CLIENTS} clients", len(taken) / elapsed, "/s", least=500),
    ]


def measure_wave() -> list[list[str]]:
    """Return the row of a wave: how much longer it takes than its pulls by themselves."""
    say(f"A wave of {WAVE_NODES:,} nodes, {WAVE_PARALLEL} at a time ...")
    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Fleet(Path(directory), WAVE_NODES, heartbeat="5s", pull=f"{WAVE_PULL}s") as fleet,
    ):
        fleet.wait_until_here()
        seconds = []
        for number in range(WAVE_REPEATS):
            begun = time.perf_counter()
            answer = fleet.clients[0].post(
                f"/node/_all/container/docker/pull?max_parallel={WAVE_PARALLEL}",
                json={"image": f"nginx:1.{number}"},
                headers={"Prefer": "wait=300"},
            )
            seconds.append(time.perf_counter() - begun)
            results = answer.json()["results"]
            if [result["status"] for result in results] != ["ok"] * WAVE_NODES:
                raise Failed(f"not all of {WAVE_NODES} nodes answered well")
    ideal = WAVE_NODES / WAVE_PARALLEL * WAVE_PULL
    overhead = 100 * (statistics.median(seconds) / ideal - 1)
    name = (
        f"a wave of {WAVE_NODES:,}, {WAVE_PARALLEL} at a time, pulls of {WAVE_PULL:g} s: overhead"
    )
    return [goal(name, overhead, "%", most=WAVE_GOAL)]


def fill(index: Index) -> float:
    """Fold jobs and their events into an index, a large one amid them; return messages a second."""
    now, choose = time.time(), random.Random(1)
    messages = 0
    begun = time.perf_counter()

    def event(job: Job, machine: str, kind: str, nodes: list[PlannedNode] | None = None) -> None:
        nonlocal messages
        made = Event(job.id, machine, f"node-{machine}", kind, now, started=now, nodes=nodes)
        messages += 1
        index.add_event(made, messages, msgspec.json.encode(made))
        index.advance(EVENTS, messages)
        if messages % 2000 == 0:
            index.flush()

    for number in range(1, INDEXED + 1):
        large = number == INDEXED // 2
        job = Job(
            id=new_id(),
            operation=choose.choice(["docker.pull", "docker.list", "node.load"]),
            parameters={"image": "nginx:1.27"},
            target="_all" if large else f"node-{number % 500}",
            caller=f"caller-{number % 20}",
            created=now,
            expires=now + 86400,
        )
        machine = f"{number % 500:032x}"
        index.add_job(job, None if large else machine, number, msgspec.json.encode(job))
        index.advance(JOBS, number)
        if large:
            machines = [f"{node:032x}" for node in range(10_000)]
            event(job, "_", PLANNED, [PlannedNode(each, f"node-{each}") for each in machines])
            for each in machines:
                event(job, each, COMPLETED)
        else:
            event(job, machine, choose.choice([COMPLETED] * 9 + [FAILED]))
    index.flush()
    return (messages + INDEXED) / (time.perf_counter() - begun)


def median_milliseconds(work: Callable[[], object], count: int = 100) -> float:
    """Return how long some work takes."""
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken)


def measure_index() -> tuple[list[list[str]], list[list[str]]]:
    """Return rows of goals, and of the times that questions take."""
    say(f"An index of {INDEXED:,} jobs ...")
    with tempfile.TemporaryDirectory(prefix="towline-bench-") as directory:
        path = Path(directory) / "index.sqlite"
        with Index(path) as index:
            for stream in (JOBS, EVENTS):
                index.position(stream, "made", 10**9)
            rate = fill(index)
        begun = time.perf_counter()
        with Index(path) as index:
            opened = time.perf_counter() - begun
            questions = {
                "all": Filter(),
                "status": Filter(status="failed"),
                "operation, status": Filter(operation="docker.pull", status="failed"),
                "caller, status": Filter(caller="caller-3", status="completed"),
                "node": Filter(machine=f"{3:032x}"),
                "node, status": Filter(machine=f"{3:032x}", status="failed"),
                "since": Filter(since=time.time() - 3600),
            }
            rows, slowest = [], 0.0
            for name, wanted in questions.items():
                page = median_milliseconds(partial(index.jobs, wanted, limit=10))
                count = median_milliseconds(partial(index.count, wanted), 20)
                slowest = max(slowest, page + count)
                found = index.count(wanted)
                rows.append([name, f"{found:,}", f"{page:.2f}", f"{count:.2f}"])
    goals = [
        goal(f"first page and count of {INDEXED:,} jobs, the slowest", slowest, "ms", most=5),
        goal(f"opening the index of {INDEXED:,} jobs", opened, "s", most=2),
        goal("folding into an empty index", rate, "/s", least=20_000),
    ]
    return goals, rows


def measure(sizes: list[int]) -> str:
    """Measure everything and return the document."""
    goals, rows = [], []
    for nodes in sizes:
        row, met = measure_broadcast(nodes)
        rows.append(row)
        goals += met
    goals += measure_any()
    goals += measure_wave()
    indexed, questions = measure_index()
    goals += indexed
    return "\n".join(
        [
            "# Benchmarks at fleet size",
            "",
            "What `scripts/bench --fleet` measured: light agents (`scripts/fleet`: the real "
            "agent's code, an engine that answers at once, ledgers in memory), broker, controller "
            "and load generator on one machine.",
            "",
            *table(["", "measured", "goal", ""], goals),
            "",
            *describe_system(),
            "",
            "## Broadcasts",
            "",
            f"Seconds until the last node's result is in the answer, the median of {REPEATS}; the "
            "broker's CPU seconds for one; seconds until all agents had registered; MiB resident "
            "afterwards.",
            "",
            *table(
                ["nodes", "read", "pull", "broker's CPU", "start", "broker MiB", "controller MiB"],
                rows,
            ),
            "",
            f"## Questions to an index of {INDEXED:,} jobs",
            "",
            "One of them is for 10,000 nodes. Milliseconds for the first page of ten, and for the "
            "total.",
            "",
            *table(["filter", "jobs", "page", "total"], questions),
            "",
        ]
    )


def main() -> int:
    """Measure and write; return the exit status."""
    arguments = argparse.ArgumentParser(prog="scripts/bench --fleet", description=__doc__)
    arguments.add_argument("--nodes", default="100,1000,10000", metavar="N,N")
    arguments.add_argument("--output", type=Path, default=DOCUMENT, metavar="FILE")
    options = arguments.parse_args()
    try:
        document = measure([int(size) for size in options.nodes.split(",")])
    except (Failed, OSError) as failure:
        print(f"The benchmark failed: {failure}", file=sys.stderr)
        return 1
    print(document)
    options.output.write_text(document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
