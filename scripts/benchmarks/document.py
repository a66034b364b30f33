"""Figures held against their goals, written as a document of tables."""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks.parts import OURS, Rounds

KEPT = "<!-- scripts/bench writes what stands above this line, and keeps what stands below. -->"


def milliseconds(seconds: Sequence[float], percent: int = 50) -> float:
    """Return a percentile, in milliseconds."""
    return 1000 * statistics.quantiles(seconds, n=100)[percent - 1]


def goal(
    what: str,
    value: float,
    unit: str = "",
    *,
    most: float | None = None,
    least: float | None = None,
) -> list[str]:
    """Return a row that holds a figure against its goal."""
    met = value <= most if most is not None else least is not None and value >= least
    bound = f"at most {most:,g}" if most is not None else f"at least {least:,g}"
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return [what, f"{shown} {unit}".strip(), f"{bound} {unit}".strip(), "met" if met else "missed"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    rule = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def latency_row(name: str, one: Sequence[float] | None, rounds: Rounds) -> list[str]:
    """Return a row of percentiles and the rate; `one` of a single client, where measured."""
    samples = (one, rounds.seconds)
    times = [
        "" if sample is None else f"{milliseconds(sample, percent):.2f}"
        for sample in samples
        for percent in (50, 99)
    ]
    return [name, *times, f"{rounds.rate:,.0f}"]


def cpu_row(name: str, rounds: Rounds, pids: dict[str, int]) -> list[str]:
    """Return a row of CPU times."""
    return [name, *(f"{rounds.cpu(part):.2f}" for part in pids if part != "up")]


def memory_row(name: str, memory: dict[str, float]) -> list[str]:
    """Return a row of sizes."""
    return [name, *(f"{memory[part]:.1f}" for part in OURS)]


def say(sentence: str) -> None:
    """Say on standard error how far it is."""
    print(sentence, file=sys.stderr, flush=True)


def write(path: Path, document: str) -> None:
    """Write what was measured; what people wrote below it stays."""
    kept = path.read_text().partition(KEPT)[2] if path.exists() else "\n"
    path.write_text(f"{document}\n{KEPT}{kept}")
