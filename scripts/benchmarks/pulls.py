"""What scripts/bench --pull measures: large pulls, and what it costs to look on."""

import argparse
import asyncio
import json
import os
import pty
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import nats
from nats.aio.msg import Msg
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.engine import Engine, EngineKind, why_missing
from tests.testing.process import Failed, wait_until
from tests.testing.registry import Registry, random_layer

from scripts.benchmarks.document import goal, say, table
from scripts.benchmarks.machine import cpu_seconds, describe_system, processes
from scripts.fleet import Fleet
from towline.client import Client
from towline.wire.subjects import progress_subject

DOCUMENT = Path(__file__).parents[2] / "docs/benchmarks-pull.md"
LAYERS, LAYER_SIZE = 5, 200_000_000
REPEATS = 3
SLOWER = 1.05
"""How much longer a pull may take than `docker pull`."""
NODES = 1000
PULL = 60
COUNTED = 4
"""Seconds over which reports are counted."""
SECONDS = 15
"""Seconds over which nodes that all pull are looked at, each way."""
CORES, KILOBYTES = 0.5, 100
NODE = "bench-1"
PARTS = ("containerd", "engine", "broker", "controller", "agent")


def timed(work: Callable[[], None]) -> float:
    """Return the seconds that work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def by_docker(engine: Engine, image: str) -> None:
    """Pull as Docker's own command line does, on a terminal that nobody reads slowly."""
    docker = shutil.which("docker")
    if docker is None:
        raise Failed("docker, the command, is not installed: it is what is compared with")
    _on_terminal([docker, "pull", image], {"DOCKER_HOST": engine.url})


def by_api(cluster: Cluster, image: str) -> None:
    """Pull through the API, while a follower reads its progress."""
    answer = cluster.pull(NODE, image, prefer="respond-async").raise_for_status()
    with Client(cluster.url, cluster.token("read")) as client:
        shown = 0
        for progress in client.progress(answer.json()["job_id"]):
            shown += 1
            if progress.done:
                break
    if progress.status != "completed" or not shown:
        raise Failed(f"the pull ended as {progress.status}")


def by_command(cluster: Cluster, image: str) -> None:
    """Pull by `towline pull` on a terminal."""
    env = {"TOWLINE_URL": cluster.url, "TOWLINE_TOKEN": cluster.token("admin")}
    script = Path(sys.executable).with_name("towline")
    _on_terminal([str(script), "pull", image, "--on", NODE], env)


def _on_terminal(command: list[str], env: dict[str, str]) -> None:
    """Run a command with output to a terminal; raise Failed where it does not succeed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux: what was at the other end has ended
            break
        shown = (shown + piece)[-4096:]
    os.close(ours)
    if process.wait() != 0:
        raise Failed(f"{command[0]} failed: {shown.decode(errors='replace')}")


def measure_large(kind: EngineKind, image: str) -> tuple[list[list[str]], list[list[str]]]:
    """Return a goal, and rows of seconds and CPU seconds of each way to pull a large image."""
    say(f"{LAYERS} layers of {LAYER_SIZE // 10**6} MB, {kind} ...")
    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Engine(kind) as engine,
        Cluster(Path(directory), [NodePlan(NODE, engine.url)]) as cluster,
    ):
        ways: dict[str, Callable[[], None]] = {
            "`docker pull`": lambda: by_docker(engine, image),
            "Towline, its progress followed": lambda: by_api(cluster, image),
            "`towline pull`": lambda: by_command(cluster, image),
        }
        found = processes([Path(directory), engine.directory])
        pids = {part: found[part] for part in PARTS}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        spent: dict[str, dict[str, float]] = {name: dict.fromkeys(pids, 0.0) for name in ways}
        by_docker(engine, image)  # not counted: the registry's files are not in memory yet
        for _ in range(REPEATS):
            for name, pull in ways.items():
                engine.forget()
                os.sync()
                before = {part: cpu_seconds(pid) for part, pid in pids.items()}
                took = timed(pull)
                seconds[name].append(took)
                for part, pid in pids.items():
                    spent[name][part] += cpu_seconds(pid) - before[part]
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    ours, theirs = medians["Towline, its progress followed"], medians["`docker pull`"]
    rows = [
        [
            *(name, kind.value, f"{medians[name]:.2f}", f"{min(each):.2f}", f"{max(each):.2f}"),
            *(f"{spent[name][part] / REPEATS:.2f}" for part in pids),
        ]
        for name, each in seconds.items()
    ]
    return [goal(f"a pull of 1 GB, {kind}: of `docker pull`'s time", ours / theirs, most=SLOWER)], (
        rows
    )


class Reader:
    """A follower of a job who counts what comes, second by second.

    Parameters: `url` and `token` are those of a controller.
    """

    def __init__(self, url: str, token: str, job: str) -> None:
        self.bytes: list[tuple[float, int]] = []
        self.nodes: list[tuple[float, int]] = []
        self._arguments = (f"{url}/job/{job}/progress", {"Authorization": f"Bearer {token}"})
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        url, headers = self._arguments
        with httpx.stream("GET", url, headers=headers, timeout=60) as answer:
            rest = b""
            for piece in answer.iter_raw():
                now = time.monotonic()
                self.bytes.append((now, len(piece)))
                *lines, rest = (rest + piece).split(b"\n")
                events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
                self.nodes.append((now, sum(len(each.get("nodes", ())) for each in events)))

    @staticmethod
    def most_in_a_second(counted: list[tuple[float, int]], since: float) -> int:
        """Return the most that came in any second since then."""
        late = [(at, count) for at, count in counted if at >= since]
        return max(
            (sum(n for at, n in late if begun <= at < begun + 1) for begun, _ in late), default=0
        )

    @staticmethod
    def total(counted: list[tuple[float, int]], since: float) -> int:
        """Return what came since then."""
        return sum(count for at, count in counted if at >= since)


def reports_a_second(fleet: Fleet, job: str) -> float:
    """Return how many reports of a job the nodes send a second."""
    user, _, password = fleet.broker.logins.nodes.read_text().strip().partition(":")

    async def count() -> int:
        received = 0

        async def count(_: Msg) -> None:
            nonlocal received
            received += 1

        client = await nats.connect(fleet.broker.url, user=user, password=password)
        await client.subscribe(progress_subject("*", job), cb=count)
        await asyncio.sleep(COUNTED)
        await client.close()
        return received

    return asyncio.run(count()) / COUNTED


def measure_many() -> tuple[list[list[str]], list[list[str]]]:
    """Return goals, and rows of what it costs when nodes pull, with and without followers."""
    say(f"{NODES:,} nodes that pull ...")
    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Fleet(Path(directory), NODES, heartbeat="5s", pull=f"{4 * PULL}s") as fleet,
    ):
        fleet.wait_until_here()
        client = fleet.clients[0]
        asked = client.post(
            "/node/_all/container/docker/pull",
            json={"image": "nginx:1.27"},
            headers={"Prefer": "respond-async"},
        )
        job = asked.raise_for_status().json()["job_id"]

        def all_run() -> bool:
            time.sleep(0.5)
            return bool(client.get(f"/job/{job}").json()["nodes"] == {"running": NODES})

        wait_until(all_run, timeout=60, what="all nodes to pull")
        parts = {
            "controller": fleet.controllers[0].pid,
            "broker": fleet.broker.pid,
        }
        rows, used, most = [], 0.0, 0
        reports = reports_a_second(fleet, job)
        for followers in (0, 1, 5):
            readers = [Reader(fleet.urls[0], fleet.token, job) for _ in range(followers)]
            time.sleep(3)
            since = time.monotonic()
            before = {name: cpu_seconds(pid) for name, pid in parts.items()}
            agents = sum(cpu_seconds(worker.pid) for worker in fleet.workers)
            time.sleep(SECONDS if followers < 2 else SECONDS / 2)
            passed = time.monotonic() - since
            cores = {
                name: (cpu_seconds(pid) - before[name]) / passed for name, pid in parts.items()
            }
            shared = (sum(cpu_seconds(worker.pid) for worker in fleet.workers) - agents) / passed
            row = [
                *(str(followers), f"{reports:,.0f}"),
                *(f"{each:.2f}" for each in (*cores.values(), shared)),
            ]
            if followers == 0:
                rows.append([*row, "", "", ""])
                continue
            reader = readers[0]
            least = 0.0
            if followers == 1:
                # From its first byte on: who begins to follow is sent most.
                used, most = cores["controller"], reader.most_in_a_second(reader.bytes, 0.0)
            least = reader.total(reader.nodes, since) / passed
            rows.append(
                [
                    *row,
                    f"{reader.total(reader.bytes, since) / passed / 1000:.1f}",
                    f"{reader.most_in_a_second(reader.bytes, 0.0) / 1000:.1f}",
                    f"{least:.0f}",
                ]
            )
    goals = [
        goal(f"{NODES:,} nodes that pull, one follower: the controller", used, "cores", most=CORES),
        goal("what that follower is sent in any second", most / 1000, "kB", most=KILOBYTES),
    ]
    return goals, rows


def measure() -> str:
    """Measure everything and return the document."""
    goals, large = [], []
    with Registry() as registry:
        layers = [random_layer(number, LAYER_SIZE) for number in range(LAYERS)]
        image = registry.push_image("bench/large", "1", layers, level=1).reference
        del layers
        for kind in EngineKind:
            if why_missing(kind):
                raise Failed(str(why_missing(kind)))
            met, rows = measure_large(kind, image)
            goals += met
            large += rows
    met, many = measure_many()
    goals += met
    return "\n".join(
        [
            "# Benchmarks of pulls",
            "",
            "What `scripts/bench --pull` measured: all parts, followers included, on one machine.",
            "",
            *table(["", "measured", "goal", ""], goals),
            "",
            *describe_system(),
            "",
            "## A large image",
            "",
            f"{LAYERS} layers of {LAYER_SIZE // 10**6} MB that can't be compressed, from a "
            "registry on loopback. Wall "
            f"seconds, the median of {REPEATS} by turns, the shortest and the longest, and the CPU "
            "seconds that each part took for one. `docker pull` and `towline pull` run on a "
            "terminal; the second row is a request by HTTP with a follower of the job's progress. "
            "Before each pull the engine has forgotten all.",
            "",
            *table(
                [
                    *("", "engine", "median", "shortest", "longest"),
                    *("containerd", "engine", "broker", "controller", "agent"),
                ],
                large,
            ),
            "",
            f"## {NODES:,} nodes that pull",
            "",
            "Light agents (`scripts/fleet`) that each pull 5 layers for minutes and have something "
            "new to report twice a second, as often as they may: the reports that they send a "
            "second, and the cores in use. What the first follower is sent: kB a second, the most "
            "in any second from its first byte on, and how many nodes it is sent a second.",
            "",
            *table(
                [
                    *("followers", "reports/s", "controller", "broker", "all agents"),
                    *("kB/s", "most", "nodes/s"),
                ],
                many,
            ),
            "",
        ]
    )


def main() -> int:
    """Measure and write; return the exit status."""
    arguments = argparse.ArgumentParser(prog="scripts/bench --pull", description=__doc__)
    arguments.add_argument("--output", type=Path, default=DOCUMENT, metavar="FILE")
    options = arguments.parse_args()
    try:
        document = measure()
    except (Failed, OSError) as failure:
        print(f"The benchmark failed: {failure}", file=sys.stderr)
        return 1
    print(document)
    options.output.write_text(document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
