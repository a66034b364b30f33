"""What sets cost: until all nodes have what a set wants, and a controller while all is well."""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
from tests.testing.engine import Engine, EngineKind
from tests.testing.engine_api import EngineApi
from tests.testing.podman import Podman
from tests.testing.process import Failed, TowlineProcess, wait_until
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
HELD = "localhost:5000/held/0:1.0"
"""An image that all light nodes have from the start."""


def pulled(client: httpx.Client, image: str, nodes: int) -> float:
    """Return how many seconds a pull takes that is asked of all nodes."""
    begun = time.monotonic()
    answer = client.post("/node/_all/container/docker/pull", json={"image": image})
    seconds = time.monotonic() - begun
    results = answer.raise_for_status().json()["results"]
    if len(results) != nodes or any(each["status"] != "ok" for each in results):
        became = Counter(
            f"{each['status']} {each.get('error') or each.get('reason', '')}" for each in results
        )
        raise Failed(f"{answer.status_code} after {seconds:.1f} s: {became.most_common(5)}")
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


def removed(client: httpx.Client) -> None:
    """Remove the set, if it is there."""
    answer = client.delete(f"/set/{NAME}")
    if answer.status_code != httpx.codes.NOT_FOUND:
        answer.raise_for_status()


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


def by_turns(
    client: httpx.Client, registry: Registry, nodes: int, turns: int
) -> list[tuple[float, float]]:
    """Return of each turn the seconds of a pull of all nodes, and of the same for a set."""
    # Not counted: engines that were just started, and connections that nobody had.
    pulled(client, an_image(registry, "first", 0), nodes)
    found = []
    for turn in range(turns):
        pull = pulled(client, an_image(registry, "pulled", turn), nodes)
        found.append((pull, converged(client, an_image(registry, "wanted", turn), nodes)))
        removed(client)
    return found


def steady(fleet: Fleet, nodes: int, turns: int) -> list[tuple[float, float]]:
    """Return of each turn what a controller takes without a set, and with one that is true."""
    client, pid = fleet.clients[0], fleet.controllers[0].pid
    found = []
    for turn in range(turns):
        taken = {}
        # Back and forth: what wears off after the start is in both alike.
        for with_set in (False, True) if turn % 2 == 0 else (True, False):
            if with_set:
                converged(client, HELD, nodes)
            else:
                removed(client)
            taken[with_set] = core(pid)
        found.append((taken[False], taken[True]))
    removed(client)
    return found


def main() -> int:
    """Measure, and print tables; return the exit status."""
    arguments = argparse.ArgumentParser(prog="scripts/bench --sets", description=__doc__)
    arguments.add_argument("--nodes", type=int, default=2000, metavar="N", help="light ones")
    arguments.add_argument("--turns", type=int, default=3, metavar="N")
    arguments.add_argument(
        "--steady", action="store_true", help="only what a controller takes, and no real nodes"
    )
    options = arguments.parse_args()
    load = os.getloadavg()[0]
    rows, goals = [], []

    def note(kinds: tuple[str, str], found: list[tuple[float, float]]) -> None:
        for kind, values in zip(kinds, zip(*found, strict=True), strict=True):
            each = (statistics.median(values), min(values), max(values))
            rows.append([kind, *(f"{value:.1f}" for value in each)])

    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Fleet(Path(directory), options.nodes, images=1) as fleet,
    ):
        say(f"all light nodes are here after {fleet.wait_until_here():.1f} s")
        found = steady(fleet, options.nodes, options.turns)
        note(("controller without a set, % of a core", "with a set that is true"), found)
        beyond = statistics.median(true - without for without, true in found)
        goals.append(goal("a set that is true, beyond none, % of a core", beyond, most=BEYOND))
        if not options.steady:
            with Registry() as registry, real_nodes(fleet) as real:
                nodes = options.nodes + real
                found = by_turns(fleet.clients[0], registry, nodes, options.turns)
            note((f"pull of {nodes:,} nodes, {real} of them real, s", "set of these, s"), found)
            times = statistics.median(whole / pull for pull, whole in found)
            goals.append(goal("a set, times the pull of the same turn", times, most=TIMES))
    what = f"{options.nodes:,} light nodes, {options.turns} turns"
    print("\n".join(table([what, "median", "least", "most"], rows)), end="\n\n")
    print("\n".join(table(["medians of the turns", "measured", "goal", ""], goals)), end="\n\n")
    print(f"The machine's load before: {load:.1f}", *describe_system(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
