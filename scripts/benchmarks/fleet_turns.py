"""What a fleet costs, by turns with the same of other checkouts."""

import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tests.testing.process import Failed, Process

from scripts.benchmarks.document import goal, say, table
from scripts.benchmarks.machine import cpu_seconds, descendants, describe_system, resident

HERE = Path(__file__).parents[2]
READS, PULLS = 7, 3
"""Of each turn, after one that doesn't count: the medians of these are its figures."""
UNTIL_HERE = 900.0
"""Seconds."""
MOST_READ = 1.35
"""How much longer a read of all nodes may take than with another checkout: each release is signed
and verified."""
FIGURES = {
    "here": "s until all are here",
    "start_cpu": "its broker CPU s",
    "read": "`_all` read, s",
    "read_cpu": "its broker CPU s",
    "pull": "`_all` pull, s",
    "pull_cpu": "its broker CPU s",
    "broker": "broker MiB",
    "controller": "controller MiB",
}
"""What is measured in a turn, and how that is called."""


@dataclass
class Fleets:
    """`scripts/fleet` of one checkout in one way, and what was measured of it: an entry a turn."""

    name: str
    path: Path
    options: Sequence[str] = ()
    figures: dict[str, list[float]] = field(default_factory=lambda: {key: [] for key in FIGURES})

    def turn(self, nodes: int) -> None:
        """Run a fleet from its start to its end.

        Raises Failed where a node does not answer well.
        """
        say(f"{nodes:,} nodes, {self.name} ...")
        with tempfile.TemporaryDirectory(prefix="towline-bench-") as directory:
            fleet = Process(
                "fleet",
                [sys.executable, "-m", "scripts.fleet", str(nodes), *self.options],
                logs=Path(directory),
                env={"PYTHONPATH": f"{self.path}:{self.path / 'src'}"},
                cwd=self.path,
            )
            with fleet:
                try:
                    here = fleet.wait_for_output(
                        r"nodes are here, after ([0-9.]+) s", timeout=UNTIL_HERE
                    )
                    found = fleet.wait_for_output(r"TOWLINE_URL=(\S+) TOWLINE_TOKEN=(\S+)")
                    self._measure(fleet, nodes, *found.groups())
                finally:
                    # It ends what it has started, and removes what it has written.
                    fleet.signal(signal.SIGINT)
                    fleet.wait(timeout=120)
                self.figures["here"].append(float(here[1]))

    def _measure(self, fleet: Process, nodes: int, url: str, token: str) -> None:
        broker, controller = parts(fleet)
        self.figures["start_cpu"].append(cpu_seconds(broker))
        headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=300"}
        with httpx.Client(base_url=url, headers=headers, timeout=600) as client:
            for kind, times in (("read", READS), ("pull", PULLS)):
                taken, spent = [], []
                for number in range(times + 1):
                    before, begun = cpu_seconds(broker), time.perf_counter()
                    answer = ask(client, kind)
                    seconds = time.perf_counter() - begun
                    results = answer.raise_for_status().json()["results"]
                    if [result["status"] for result in results] != ["ok"] * nodes:
                        raise Failed(f"not all of {nodes} nodes answered well")
                    if number:
                        taken.append(seconds)
                        spent.append(cpu_seconds(broker) - before)
                self.figures[kind].append(statistics.median(taken))
                self.figures[f"{kind}_cpu"].append(statistics.median(spent))
        self.figures["broker"].append(resident(broker))
        self.figures["controller"].append(resident(controller))

    def row(self) -> list[str]:
        """Return the medians of its turns, each with the least and the most."""
        return [self.name, *(_shown(each) for each in self.figures.values())]

    def ratio(self, other: "Fleets", figure: str) -> float:
        """Return how its turns compare with the same turns of another one: the median."""
        pairs = zip(self.figures[figure], other.figures[figure], strict=True)
        return statistics.median(own / its for own, its in pairs)


def _shown(values: Sequence[float]) -> str:
    digits = 0 if min(values) >= 100 else 2
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({least:.{digits}f}–{most:.{digits}f})"


def ask(client: httpx.Client, kind: str) -> httpx.Response:
    """Ask all nodes for a read, or to pull an image that is there after the first time."""
    if kind == "read":
        return client.get("/node/_all/load")
    return client.post("/node/_all/container/docker/pull", json={"image": "nginx:1.27"})


def parts(fleet: Process) -> tuple[int, int]:
    """Return the process ids of a fleet's broker and controller.

    Raises Failed where they are not there.
    """
    known = descendants(fleet.pid)
    broker = [pid for pid, run in known.items() if run and run[0].endswith("nats-server")]
    controller = [
        pid for pid, run in known.items() if re.search(r"\bcontroller\b", " ".join(run[:4]))
    ]
    if not broker or not controller:
        raise Failed(f"a fleet without a broker or a controller: {known}")
    return broker[0], controller[0]


def measure(
    checkouts: Sequence[Path], nodes: int, turns: int, *, with_passwords: bool = False
) -> str:
    """Measure by turns, each time in the other order; return tables.

    Parameters: `with_passwords` says whether this checkout is measured with one password for all
    nodes, too, as well as with logins of their own over TLS.
    """
    fleets = [Fleets("own logins, TLS", HERE, ["--own-logins"])]
    if with_passwords:
        fleets.append(Fleets("one password", HERE))
    fleets += [Fleets(f"`{path}`", path.resolve()) for path in checkouts]
    for number in range(turns):
        for fleet in fleets[:: -1 if number % 2 else 1]:
            fleet.turn(nodes)
    first, *others = fleets
    ratios = []
    for other in others:
        ratios.append(
            goal(f"`_all` read, of {other.name}", first.ratio(other, "read"), most=MOST_READ)
        )
        ratios += [
            [f"{FIGURES[figure]}, of {other.name}", f"{first.ratio(other, figure):.2f}", "", ""]
            for figure in ("here", "pull", "broker", "controller")
        ]
    rows = [fleet.row() for fleet in fleets]
    return "\n".join(
        [
            f"{nodes:,} nodes, {turns} turns: medians (least–most).",
            "",
            *table(["", *FIGURES.values()], rows),
            "",
            *table(["medians of the turns' ratios", "", "goal", ""], ratios),
            "",
            *describe_system(),
        ]
    )
