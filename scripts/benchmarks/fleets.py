"""What scripts/bench --fleet measures: many nodes, many jobs. All parts are gone when it ends."""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import httpx
import uvloop
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.process import Failed, wait_until

from scripts.benchmarks import fleet_turns
from scripts.benchmarks.document import goal, milliseconds, say, table, write
from scripts.benchmarks.journal import (
    BOUNDED_AGE,
    BOUNDED_NODES,
    BOUNDED_SIZE,
    JOBS_MADE,
    LARGE,
    measure_bounds,
    measure_questions,
)
from scripts.benchmarks.load import Exchange, at_once, in_turn, request
from scripts.benchmarks.machine import cpu_seconds, describe_system, resident
from scripts.fleet import Fleet

DOCUMENT = Path(__file__).parents[2] / "docs/benchmarks-fleet.md"
REPEATS = 7
CLIENTS = 16
ANY_NODES = 150
PROCESSES = 150
RETURNING = 2000
WAVE_NODES, WAVE_PARALLEL, WAVE_PULL = 1000, 50, 0.5
WAVE_REPEATS = 3
WAVE_GOAL = 10
"""Per cent that a wave may take beyond nodes / nodes at a time x one pull."""
IDLE_AFTER, IDLE_FOR = 10.0, 20.0
"""Seconds after which nothing of what came before is under way, and that are measured."""


class Most(NamedTuple):
    """What so many nodes may cost at most: seconds, CPU seconds, and MiB."""

    start: float
    read: float
    read_cpu: float
    pull: float
    pull_cpu: float
    memory: float


GOALS = {
    2000: Most(6, 0.6, 0.2, 1.6, 0.35, 200),
    8000: Most(20, 3, 0.7, 7, 1.2, 650),
}


def broadcasts(fleet: Fleet) -> list[tuple[float, float]]:
    """Return what an `_all` read and an `_all` pull of an image that is there cost.

    Each is the seconds until the last result, and the broker's CPU seconds: medians.
    """
    client, broker = fleet.clients[0], fleet.broker.pid
    headers = {"Prefer": "wait=300"}
    found: list[tuple[float, float]] = []
    for read in (True, False):
        taken, spent = [], []
        # The first pull is of an image that is not there yet.
        for number in range(REPEATS + 1):
            before, begun = cpu_seconds(broker), time.perf_counter()
            if read:
                answer = client.get("/node/_all/load", headers=headers)
            else:
                body = {"image": "nginx:1.27"}
                answer = client.post("/node/_all/container/docker/pull", json=body, headers=headers)
            seconds = time.perf_counter() - begun
            results = answer.json()["results"]
            if [result["status"] for result in results] != ["ok"] * fleet.nodes:
                raise Failed(f"not all of {fleet.nodes} nodes answered well")
            if number:
                taken.append(seconds)
                spent.append(cpu_seconds(broker) - before)
        found.append((statistics.median(taken), statistics.median(spent)))
    return found


def idle(fleet: Fleet) -> tuple[float, float]:
    """Return the cores that a controller and the broker use while nobody asks for anything."""
    pids = [fleet.controllers[0].pid, fleet.broker.pid]
    time.sleep(IDLE_AFTER)
    before = [cpu_seconds(pid) for pid in pids]
    time.sleep(IDLE_FOR)
    controller, broker = (
        (cpu_seconds(pid) - spent) / IDLE_FOR for pid, spent in zip(pids, before, strict=True)
    )
    return controller, broker


def restart(fleet: Fleet) -> float:
    """Return the seconds from a controller's start to an answer of all nodes."""
    fleet.controllers[0].kill()
    begun = time.perf_counter()
    fleet.controllers[0].start()
    fleet.controllers[0].wait_for_output("answers at")
    client = fleet.clients[0]

    def all_answer() -> bool:
        try:
            answer = client.get("/node/_all/load", headers={"Prefer": "wait=60"}).json()
        except httpx.HTTPError:
            return False
        results = answer.get("results", [])
        return [result["status"] for result in results] == ["ok"] * fleet.nodes

    wait_until(all_answer, timeout=300, what="the answers of all nodes")
    return time.perf_counter() - begun


def measure_broadcast(nodes: int) -> tuple[list[str], list[list[str]]]:
    """Return a row of figures for so many nodes, and rows of goals."""
    say(f"{nodes:,} nodes ...")
    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Fleet(Path(directory), nodes) as fleet,
    ):
        begun = time.perf_counter()
        fleet.wait_until_here()
        started = time.perf_counter() - begun
        broker = fleet.broker.pid
        (read, read_cpu), (pull, pull_cpu) = broadcasts(fleet)
        memory = [resident(broker), resident(fleet.controllers[0].pid)]
        cores = idle(fleet)
        restarted = restart(fleet)
    goals = []
    if nodes in GOALS:
        most = GOALS[nodes]
        goals = [
            goal(f"{nodes:,} nodes: all here", started, "s", most=most.start),
            goal(f"{nodes:,} nodes: `_all` read", read, "s", most=most.read),
            goal(f"{nodes:,} nodes: the broker's CPU of it", read_cpu, "s", most=most.read_cpu),
            goal(f"{nodes:,} nodes: pull of an image that is there", pull, "s", most=most.pull),
            goal(f"{nodes:,} nodes: the broker's CPU of it", pull_cpu, "s", most=most.pull_cpu),
            goal(f"{nodes:,} nodes: the broker's memory", memory[0], "MiB", most=most.memory),
        ]
    if nodes == max(GOALS):
        goals += [
            goal(f"{nodes:,} nodes: idle controller", cores[0], "cores", most=0.15),
            goal(f"{nodes:,} nodes: idle broker", cores[1], "cores", most=0.05),
            goal(f"{nodes:,} nodes: all answer after a restart", restarted, "s", most=10),
        ]
    figures = [started, read, read_cpu, pull, pull_cpu, restarted, *cores]
    row = [f"{nodes:,}", *(f"{f:.2f}" for f in figures), *(f"{m:.0f}" for m in memory)]
    return row, goals


def measure_return(nodes: int = RETURNING) -> list[list[str]]:
    """Return the row of a fleet whose broker is killed and comes back.

    Each node has a login of its own, and a connection that is encrypted.
    """
    say(f"The broker of {nodes:,} nodes restarts ...")
    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Fleet(Path(directory), nodes, own_logins=True) as fleet,
    ):
        fleet.wait_until_here()
        client = fleet.clients[0]
        fleet.broker.kill()
        wait_until(lambda: client.get("/health/ready").status_code == 503, what="the loss noticed")
        begun = time.perf_counter()
        fleet.broker.start()

        def all_answer() -> bool:
            answer = client.get("/node/_all/load", headers={"Prefer": "wait=60"}).json()
            statuses = [result["status"] for result in answer.get("results", [])]
            return statuses == ["ok"] * nodes

        wait_until(all_answer, timeout=300, what="the answers of all nodes")
        seconds = time.perf_counter() - begun
    return [
        goal(
            f"until all of {nodes:,} nodes answer after the broker was away",
            seconds,
            "s",
            most=60,
        )
    ]


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


def measure_processes() -> list[list[str]]:
    """Return rows of goals for agents that are processes of their own, one of them dead."""
    say(f"{PROCESSES} agents as processes of their own ...")
    names = [f"node-{number:03}" for number in range(PROCESSES)]
    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Cluster(
            Path(directory), [NodePlan(name) for name in names], {"TOWLINE_HEARTBEAT": "5s"}
        ) as cluster,
    ):

        def all_answer(ok: int) -> float:
            begun = time.perf_counter()
            answer = cluster.admin.get("/node/_all/load", headers={"Prefer": "wait=60"})
            taken = time.perf_counter() - begun
            if [result["status"] for result in answer.json()["results"]].count("ok") != ok:
                raise Failed(f"not {ok} of {PROCESSES} nodes answered well")
            return taken

        # Starting them took both cores; what they still do then is no part of a broadcast.
        time.sleep(10)
        healthy = statistics.median(all_answer(PROCESSES) for _ in range(REPEATS))
        cluster.agents[names[0]].kill()
        cluster.wait_away(names[0])
        lame = statistics.median(all_answer(PROCESSES - 1) for _ in range(REPEATS))
    return [
        goal(f"`_all` read, {PROCESSES} agents as processes of their own", healthy, "s", most=0.25),
        goal("longer with one of them dead, once it is away", lame - healthy, "s", most=1),
    ]


def _broadcasts(rows: list[list[str]]) -> list[str]:
    """Return the table of what broadcasts cost."""
    columns = [
        *("nodes", "start", "read", "its broker CPU", "pull", "its broker CPU", "restart"),
        *("idle controller", "idle broker", "broker MiB", "controller MiB"),
    ]
    return table(columns, rows)


def measure(sizes: list[int], *, broadcasts_only: bool = False) -> str:
    """Measure everything and return the document."""
    goals, rows = [], []
    for nodes in sizes:
        row, met = measure_broadcast(nodes)
        rows.append(row)
        goals += met
    if broadcasts_only:
        return "\n".join([*table(["", "measured", "goal", ""], goals), "", *_broadcasts(rows), ""])
    goals += measure_return()
    goals += measure_processes()
    goals += measure_any()
    goals += measure_wave()
    indexed, questions = measure_questions()
    goals += indexed
    by_size = measure_bounds(retention_size=BOUNDED_SIZE)
    by_age = measure_bounds(retention=BOUNDED_AGE)
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
            "Seconds until all agents are here; until the last node's result is in the answer, "
            f"and the broker's CPU seconds for it, medians of {REPEATS}; seconds until all nodes "
            "answer after the controller was killed; cores while nothing is asked; MiB resident.",
            "",
            *_broadcasts(rows),
            "",
            f"## Questions to a controller that knows {JOBS_MADE:,} jobs",
            "",
            f"One of them is for {LARGE:,} nodes. Milliseconds for the first page of ten with the "
            "total, over HTTP.",
            "",
            *table(["filter", "jobs", "page"], questions),
            "",
            "## Ever more jobs",
            "",
            "MiB on disk of the journal, a controller's index, and the ledger of one node of "
            f"{BOUNDED_NODES}, as pulls are done one after another; first with "
            f"`retention-size = {BOUNDED_SIZE}`, then with `retention = {BOUNDED_AGE}`.",
            "",
            *table(["jobs done", "known", "journal", "index", "ledger"], by_size),
            "",
            *table(["jobs done", "known", "journal", "index", "ledger"], by_age),
            "",
        ]
    )


def main() -> int:
    """Measure and write; return the exit status."""
    arguments = argparse.ArgumentParser(prog="scripts/bench --fleet", description=__doc__)
    arguments.add_argument("--nodes", default="100,2000,8000", metavar="N,N")
    arguments.add_argument("--broadcasts", action="store_true", help="measure these only")
    arguments.add_argument("--returns", action="store_true", help="measure these only")
    arguments.add_argument("--any", action="store_true", help="measure these only")
    arguments.add_argument("--against", type=Path, action="append", metavar="CHECKOUT")
    arguments.add_argument("--with-passwords", action="store_true", help="with --against")
    arguments.add_argument("--turns", type=int, default=3, help="with --against")
    arguments.add_argument("--output", type=Path, default=DOCUMENT, metavar="FILE")
    options = arguments.parse_args()
    sizes = [int(size) for size in options.nodes.split(",")]
    try:
        if options.against:
            for size in sizes:
                print(
                    fleet_turns.measure(
                        *(options.against, size, options.turns),
                        with_passwords=options.with_passwords,
                    )
                )
            return 0
        if options.returns or options.any:
            goals = measure_any() if options.any else []
            if options.returns:
                goals += [row for size in sizes for row in measure_return(size)]
            print("\n".join(table(["", "measured", "goal", ""], goals)))
            return 0
        document = measure(sizes, broadcasts_only=options.broadcasts)
    except (Failed, OSError) as failure:
        print(f"The benchmark failed: {failure}", file=sys.stderr)
        return 1
    print(document)
    if not options.broadcasts:
        write(options.output, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
