"""What sets cost: until all nodes have what a set wants, and a controller while all is well."""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from scripts.benchmarks.document import table
from scripts.benchmarks.machine import cpu_seconds
from scripts.fleet import Fleet

STEADY = 20.0
"""Seconds for which a controller is looked at that has nothing to do."""
SETTLES = 15.0
"""Seconds after which nothing of what went before goes on any more."""
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


def main() -> int:
    """Measure by turns, and print a table; return the exit status."""
    arguments = argparse.ArgumentParser(prog="scripts/bench --sets", description=__doc__)
    arguments.add_argument("--nodes", type=int, default=2000, metavar="N")
    arguments.add_argument("--turns", type=int, default=3, metavar="N")
    options = arguments.parse_args()
    nodes = options.nodes
    kinds = (
        "pull of all nodes, s",
        "set of all nodes, s",
        "controller without a set, % of a core",
        "with a set that is true, % of a core",
    )
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    with (
        tempfile.TemporaryDirectory(prefix="towline-bench-") as directory,
        Fleet(Path(directory), nodes) as fleet,
    ):
        fleet.wait_until_here()
        client, pid = fleet.clients[0], fleet.controllers[0].pid
        for turn in range(options.turns):
            measured = (
                pulled(client, f"pulled:{turn}", nodes),
                converged(client, f"wanted:{turn}", nodes),
            )
            with_set = core(pid)
            client.delete(f"/set/{NAME}").raise_for_status()
            for kind, value in zip(kinds, (*measured, core(pid), with_set), strict=True):
                found[kind].append(value)
    rows = [
        [kind] + [f"{each:.1f}" for each in (statistics.median(values), min(values), max(values))]
        for kind, values in found.items()
    ]
    print(
        "\n".join(table([f"{nodes} nodes, {options.turns} turns", "median", "least", "most"], rows))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
