"""What sets cost: until all nodes have what a set wants, and a controller while all is well."""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
from tests.testing.engine import Engine, EngineKind
from tests.testing.engine_api import EngineApi
from tests.testing.podman import Podman
from tests.testing.process import TowlineProcess, wait_until
from tests.testing.registry import Registry, random_layer

from scripts.benchmarks.document import goal, say, table
from scripts.benchmarks.machine import cpu_seconds, describe_system
from scripts.fleet import Fleet
from scripts.instant_engine import telling_tag

STEADY = 20.0
"""Seconds for which a controller is looked at that has nothing to do."""
SETTLES = 15.0
"""Seconds after which nothing of what went before goes on any more."""
TIMES, BEYOND = 2.0, 2.0
"""How many times as long as a pull a set may take, and percent of a core that it may cost."""
ENGINES: tuple[Callable[[], EngineApi], ...] = (
    *(partial(Engine, each) for each in EngineKind),
    Podman,
)
SIZE = 5_000_000
"""Bytes of an image that real engines pull."""
NAME = "bench"


def pulled(client: httpx.Client, image: str, nodes: int) -> float:
    """Return how many seconds a pull takes that is asked of all nodes."""
    begun = time.monotonic()
    answer = client.post("/node/_all/container/docker/pull", json={"image": image})
    seconds = time.monotonic() - begun
    answer.raise_for_status()
    assert {each["status"] for each in answer.json()["results"]} == {"ok"}
    assert len(answer.json()["results"]) == nodes
    return seconds


def converged(client: httpx.Client, image: str, nodes: int) -> float:
    """Return how many seconds pass from the declaration of a set until all nodes are as it says."""
    begun = time.monotonic()
    client.put(f"/set/{NAME}", json={"target": "_all", "images": [image]}).raise_for_status()
    while True:
        (view,) = client.get(f"/set/{NAME}").raise_for_status().json()["images"]
        # That this controller has folded what the nodes say, not only that they are done.
        if view["converged"] == nodes and "next" not in view:
            return time.monotonic() - begun
        time.sleep(0.25)


def core(pid: int) -> float:
    """Return the share of a core that a process takes while nothing happens, in percent."""
    time.sleep(SETTLES)
    used, begun = cpu_seconds(pid), time.monotonic()
    time.sleep(STEADY)
    return 100 * (cpu_seconds(pid) - used) / (time.monotonic() - begun)


def an_image(registry: Registry, name: str, turn: int) -> str:
    """Return an image that no node has, and that light nodes know the digest of."""
    repository, layers = f"bench/{name}", [random_layer(f"{name}-{turn}", SIZE)]
    digest = registry.push_image(repository, str(turn), layers, level=1).digest
    return registry.push_image(repository, telling_tag(digest), layers, level=1).reference


@contextmanager
def real_nodes(fleet: Fleet) -> Iterator[int]:
    """Have a node of each kind of real engine beside the light ones; yield how many there are."""
    with ExitStack() as parts:
        engines = [parts.enter_context(make()) for make in ENGINES]
        for number, engine in enumerate(engines):
            name = f"real-{number}"
            agent = TowlineProcess(
                "agent",
                *("--state", str(fleet.directory / name), "--hostname", name),
                *("--engine", engine.url, *fleet.broker.agent_login),
                logs=fleet.directory,
                name=name,
                env={"TOWLINE_HEARTBEAT": "5s", "TOWLINE_DOCKER_CONFIG": "none"},
            )
            parts.enter_context(agent)
        nodes = fleet.nodes + len(engines)
        wait_until(lambda: fleet.here(fleet.clients[0]) == nodes, timeout=60, what="real nodes")
        yield len(engines)


def main() -> int:
    """Measure by turns, and print tables; return the exit status."""
    arguments = argparse.ArgumentParser(prog="scripts/bench --sets", description=__doc__)
    arguments.add_argument("--nodes", type=int, default=2000, metavar="N", help="light ones")
    arguments.add_argument("--turns", type=int, default=3, metavar="N")
    options = arguments.parse_args()
    kinds = (
        "pull of all nodes, s",
        "set of all nodes, s",
        "controller without a set, % of a core",
        "with a set that is true, % of a core",
    )
    measured: list[list[float]] = []
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Registry() as registry,
        Fleet(Path(directory), options.nodes) as fleet,
    ):
        say(f"all light nodes are here after {fleet.wait_until_here():.1f} s")
        client, pid = fleet.clients[0], fleet.controllers[0].pid
        with real_nodes(fleet) as real:
            nodes = options.nodes + real
            # Not counted: engines that were just started, and connections that nobody had.
            pulled(client, an_image(registry, "first", 0), nodes)
            for turn in range(options.turns):
                pull = pulled(client, an_image(registry, "pulled", turn), nodes)
                image = an_image(registry, "wanted", turn)
                measured.append([pull, converged(client, image, nodes)])
                client.delete(f"/set/{NAME}").raise_for_status()
            for row in measured:
                row.append(core(pid))
                converged(client, image, nodes)  # which all nodes have: nothing is pulled
                row.append(core(pid))
                client.delete(f"/set/{NAME}").raise_for_status()
    found = list(zip(*measured, strict=True))
    rows = [
        [kind] + [f"{each:.1f}" for each in (statistics.median(values), min(values), max(values))]
        for kind, values in zip(kinds, found, strict=True)
    ]
    pulls, sets, without, true = found
    times = statistics.median(b / a for a, b in zip(pulls, sets, strict=True))
    beyond = statistics.median(b - a for a, b in zip(without, true, strict=True))
    goals = [
        goal("a set, times the pull of the same turn", times, most=TIMES),
        goal("a set that is true, beyond none, % of a core", beyond, most=BEYOND),
    ]
    what = f"{real} real and {options.nodes:,} light nodes, {options.turns} turns"
    print("\n".join(table([what, "median", "least", "most"], rows)), end="\n\n")
    print("\n".join(table(["medians of the turns", "measured", "goal", ""], goals)), end="\n\n")
    print(f"The machine's load before: {load:.1f}", *describe_system(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
