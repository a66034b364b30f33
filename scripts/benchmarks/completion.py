"""What a shell waits for while somebody types: the commands' names, an option's, nodes'.

The fleet is the one that TOWLINE_URL and TOWLINE_TOKEN name, such as that of scripts/fleet 1000.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.benchmarks.document import table
from towline.cli.completing import LINE, VARIABLE

TOWLINE = Path(sys.executable).with_name("towline")
LINES = {
    "(nothing: `python -c ''`)": "",
    "a command: `towline no`": "towline no",
    "a command of a noun: `towline node sh`": "towline node sh",
    "an option: `towline pull --pol`": "towline pull --pol",
    "nodes, asked of the controller: `towline pull x --on `": "towline pull x --on ",
    "nodes, from an answer of the last 10 s": "towline pull x --on ",
}


def main() -> None:
    """Measure each by turns, and print a table."""
    arguments = argparse.ArgumentParser(prog="scripts/bench --completion", description=__doc__)
    arguments.add_argument("--turns", type=int, default=25)
    turns = arguments.parse_args().turns
    seconds: dict[str, list[float]] = {name: [] for name in LINES}
    busy: dict[str, list[float]] = {name: [] for name in LINES}
    words: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as directory:
        # As where it is installed: what the first turn has compiled is there for the others.
        env = {**os.environ, VARIABLE: "bash", "PYTHONPYCACHEPREFIX": f"{directory}/compiled"}
        env["XDG_CACHE_HOME"] = f"{directory}/cache"
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(turns + 1):
            for kept in Path(env["XDG_CACHE_HOME"]).glob("towline/names-*"):
                kept.unlink()
            for name, line in LINES.items():
                begun, used = time.perf_counter(), processor_seconds()
                command = [TOWLINE] if line else [sys.executable, "-c", ""]
                done = subprocess.run(
                    command, check=True, capture_output=True, text=True, env=env | {LINE: line}
                )
                if turn:
                    seconds[name].append(time.perf_counter() - begun)
                    busy[name].append(processor_seconds() - used)
                    words[name] = len(done.stdout.splitlines()) - 1
    rows = [
        [name, str(words[name])]
        + [f"{1000 * each:.0f}" for each in (statistics.median(taken), min(taken), max(taken))]
        + [f"{1000 * statistics.median(busy[name]):.0f}"]
        for name, taken in seconds.items()
    ]
    print(
        "\n".join(
            table(["what is completed", "words", "ms, median", "least", "most", "CPU ms"], rows)
        )
    )


def processor_seconds() -> float:
    """Return what the processes that this one has waited for have taken of the processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
