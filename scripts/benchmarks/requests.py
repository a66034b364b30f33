"""What scripts/bench measures, on throw-away parts that are all gone when it ends."""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from tests.testing.process import Failed

from scripts.benchmarks.document import (
    cpu_row,
    goal,
    latency_row,
    memory_row,
    milliseconds,
    say,
    table,
    write,
)
from scripts.benchmarks.load import at_once, in_turn
from scripts.benchmarks.machine import describe_machine
from scripts.benchmarks.parts import CLIENTS, FULL, OURS, QUICK, Bench, Extent

JOBS = 1000
"""Jobs after which memory is measured: half of them pulls, half of them reads."""
DOCUMENT = Path(__file__).parents[2] / "docs/benchmarks.md"


def command_seconds(commands: Sequence[Sequence[str]], count: int) -> list[float]:
    """Return the median wall time of each command, run by turns, after a first run of each."""
    taken: list[list[float]] = [[] for _ in commands]
    with tempfile.TemporaryDirectory() as compiled:
        # As where it is installed: what the first run has compiled is there for the others.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(count + 1):
            for command, seconds in zip(commands, taken, strict=True):
                begun = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
                if number:
                    seconds.append(time.perf_counter() - begun)
    return [statistics.median(seconds) for seconds in taken]


def measure(extent: Extent) -> str:
    """Measure everything and return the document."""
    with ExitStack() as parts:
        directory = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="towline-bench-")))
        say("Starting an engine, a registry and towline up ...")
        bench = Bench.start(extent, directory, parts)
        machine = describe_machine(directory, bench.pids)
        idle = bench.memory()
        say(f"{JOBS:,} jobs, then memory ...")
        for exchange in (bench.pull, bench.load):
            bench.run(at_once(exchange, CLIENTS, count=JOBS // 2))
        memory = bench.memory()
        say("GET /node/{hostname}/load, one client ...")
        (load_one,) = bench.run(in_turn([bench.load], 3 * extent.exchanges))
        say(f"GET /node/{{hostname}}/load, {CLIENTS} clients ...")
        (load,) = bench.rounds(bench.load)
        say("Pulls of a present image, direct and through Towline, one client ...")
        direct_one, pull_one = bench.run(in_turn([bench.direct, bench.pull], extent.exchanges))
        say(f"The same, {CLIENTS} clients ...")
        direct, pull = bench.rounds(bench.direct, bench.pull)
        say("The same, an image each ...")
        bench.run(at_once(bench.pull_each, CLIENTS, count=CLIENTS))
        direct_each, pull_each = bench.rounds(bench.direct_each, bench.pull_each)
        final = bench.memory()
    jobs = JOBS + len(load_one) + len(load.seconds) + len(pull_one) + len(pull.seconds)
    jobs += len(pull_each.seconds)
    say("The command line ...")
    towline = str(Path(sys.executable).with_name("towline"))
    python, help_all, help_pull = command_seconds(
        [[sys.executable, "-c", ""], [towline, "--help"], [towline, "pull", "--help"]],
        extent.commands,
    )

    added = milliseconds(pull_one) - milliseconds(direct_one)
    goals = [
        goal("pull of a present image, one client: added at p50", added, "ms", most=3),
        goal(
            f"pull, {CLIENTS} clients, one image: of the engine's own rate",
            pull.rate / direct.rate,
            least=0.85,
        ),
        goal(
            f"pull, {CLIENTS} clients, an image each: of the engine's own rate",
            pull_each.rate / direct_each.rate,
            least=0.85,
        ),
        goal("`GET …/load`, one client: p50", milliseconds(load_one), "ms", most=2),
        goal(f"`GET …/load`, {CLIENTS} clients", load.rate, "/s", least=1200),
        goal(f"resident memory of the agent after {JOBS:,} jobs", memory["agent"], "MiB", most=48),
        goal("`towline --help`", 1000 * help_all, "ms", most=150),
        goal("`towline pull --help`", 1000 * help_pull, "ms", most=150),
    ]
    elsewhere = statistics.median(load.elsewhere + direct.elsewhere + pull.elsewhere)
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "What `scripts/bench` measured: all parts, the load generator included, on the machine "
            "below.",
            "",
            *table(["", "measured", "goal", ""], goals),
            "",
            "## Machine",
            "",
            *machine,
            f"- Meanwhile, processes that are no part of this took {elsewhere:.2f} cores.",
            "",
            "## Requests",
            "",
            f"One client sends one request after another; {CLIENTS} clients do so side by side, "
            f"for {extent.rounds} rounds of {extent.seconds:g} s each. A pull made directly is "
            "`POST /images/create` and an inspect on the engine's own socket; direct pulls and "
            "pulls through Towline take turns. Tasks of a node that wait for the same image share "
            "one pull, which the engine doesn't do for its own clients: hence also a measurement "
            f"where every client has an image of its own. Of these {CLIENTS} may run at a time "
            f"(`max-pulls = {CLIENTS}`): a node's own pace is not what is measured here.",
            "",
            *table(
                ["", "p50 ms, 1 client", "p99", f"p50 ms, {CLIENTS} clients", "p99", "per second"],
                [
                    latency_row("`GET …/load`", load_one, load),
                    latency_row("pull, directly", direct_one, direct),
                    latency_row("pull, through Towline", pull_one, pull),
                    latency_row("pull, an image each, directly", None, direct_each),
                    latency_row("pull, an image each, through Towline", None, pull_each),
                ],
            ),
            "",
            f"## CPU time a request, {CLIENTS} clients",
            "",
            "Milliseconds, from `/proc/PID/stat`.",
            "",
            *table(
                ["", *(name for name in bench.pids if name != "up")],
                [
                    cpu_row("`GET …/load`", load, bench.pids),
                    cpu_row("pull, directly", direct, bench.pids),
                    cpu_row("pull, through Towline", pull, bench.pids),
                    cpu_row("pull, an image each, directly", direct_each, bench.pids),
                    cpu_row("pull, an image each, through Towline", pull_each, bench.pids),
                ],
            ),
            "",
            "## Resident memory",
            "",
            "MiB.",
            "",
            *table(
                ["", *OURS],
                [
                    memory_row("idle", idle),
                    memory_row(f"after {JOBS:,} jobs", memory),
                    memory_row(f"after {jobs:,} jobs", final),
                ],
            ),
            "",
            "## Command line",
            "",
            f"Wall time, the median of {extent.commands} runs by turns.",
            "",
            *table(
                ["command", "ms"],
                [
                    ["`python -c ''`", f"{1000 * python:.0f}"],
                    ["`towline --help`", f"{1000 * help_all:.0f}"],
                    ["`towline pull --help`", f"{1000 * help_pull:.0f}"],
                ],
            ),
            "",
        ]
    )


def leave(number: int, _frame: FrameType | None) -> None:
    """On a signal unwind, so that every part is stopped; further signals don't disturb that."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> int:
    """Measure and write; return the exit status."""
    arguments = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="shorter, and print it only")
    arguments.add_argument("--output", type=Path, default=DOCUMENT, metavar="FILE")
    options = arguments.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        document = measure(QUICK if options.quick else FULL)
    except (Failed, OSError) as failure:
        print(f"The benchmark failed: {failure}", file=sys.stderr)
        return 1
    print(document)
    if not options.quick:
        write(options.output, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
