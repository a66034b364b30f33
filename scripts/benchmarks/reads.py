"""What one read costs, by turns with the same of another checkout."""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import uvloop
from tests.testing.ports import free_port
from tests.testing.process import Failed, Process

from scripts.benchmarks.document import say, table
from scripts.benchmarks.load import Exchange, at_once, in_turn, request
from scripts.benchmarks.machine import processes
from scripts.benchmarks.parts import CLIENTS, NODE, OURS, Rounds

SINGLE = 60
"""Reads of one client in a turn."""
HERE = Path(__file__).parents[2]


class Checkout:
    """`towline up` of one checkout, and what was measured of it: an entry a turn."""

    def __init__(self, path: Path, directory: Path, parts: ExitStack) -> None:
        self.path = path
        state, port = directory / "state", free_port()
        directory.mkdir()

        def towline(*arguments: str | Path) -> Process:
            return Process(
                str(arguments[0]),
                [sys.executable, "-m", "towline", *arguments, "--state", state],
                logs=directory,
                env={"PYTHONPATH": str(path / "src"), "TOWLINE_CONFIG": "/dev/null"},
                cwd=path,
            )

        listen = ("--listen", f"127.0.0.1:{port}")
        up = parts.enter_context(towline("up", *listen, "--hostname", NODE, "--engine", "none"))
        # A read needs no engine, and what is ready for pulls has one.
        up.wait_for_output("no reachable node has a Docker Engine")
        create = towline("token", "create", "--subject", "bench", "--role", "read")
        create.start()
        if create.wait():
            raise Failed(create.tail())
        token = f"Authorization: Bearer {create.stdout.strip()}"
        self.read = Exchange(port, [[(request("GET", f"/node/{NODE}/load", token), 200, b'"ok"')]])
        self.pids = processes([state])
        self.single: list[float] = []
        self.rounds = Rounds()

    async def turn(self, seconds: float) -> None:
        """Read with one client, then with many."""
        (taken,) = await in_turn([self.read], SINGLE)
        self.single.append(1000 * statistics.median(taken))
        await self.rounds.add(self.read, seconds, self.pids)

    def row(self, name: str) -> list[str]:
        """Return its medians."""
        return [
            name,
            f"{statistics.median(self.single):.2f}",
            f"{self.rounds.rate:,.0f}",
            *(f"{self.rounds.cpu(part):.2f}" for part in (*OURS, "load generator")),
        ]

    def ratios(self, other: "Checkout") -> str:
        """Return how its turns compare with the same turns of another checkout."""
        times = [own / its for own, its in zip(self.single, other.single, strict=True)]
        rates = [own / its for own, its in zip(self.rounds.rates, other.rounds.rates, strict=True)]
        return (
            f"Of each turn of {other.path}: {statistics.median(times):.2f} of its p50, "
            f"{statistics.median(rates):.2f} times its rate."
        )


async def measure(checkouts: Sequence[Checkout], turns: int, seconds: float) -> None:
    """Measure by turns, each time in the other order, after a first load that doesn't count."""
    for checkout in checkouts:
        await at_once(checkout.read, CLIENTS, seconds=2)
    for number in range(turns):
        for checkout in checkouts[:: -1 if number % 2 else 1]:
            await checkout.turn(seconds)


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench --reads", description=__doc__)
    parser.add_argument("--against", type=Path, action="append", default=[], metavar="CHECKOUT")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="with many clients, in a turn")
    options = parser.parse_args()
    try:
        with ExitStack() as parts:
            directory = Path(parts.enter_context(tempfile.TemporaryDirectory()))
            checkouts = [
                Checkout(path.resolve(), directory / str(number), parts)
                for number, path in enumerate([HERE, *options.against])
            ]
            say(f"{options.turns} turns of {len(checkouts)} checkouts ...")
            runner = parts.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
            runner.run(measure(checkouts, options.turns, options.seconds))
    except (Failed, OSError) as failure:
        print(f"The benchmark failed: {failure}", file=sys.stderr)
        return 1
    columns = ["", "p50 ms, 1 client", f"per second, {CLIENTS} clients"]
    columns += [f"{part}, CPU ms a read" for part in (*OURS, "load generator")]
    rows = [checkout.row(f"`{checkout.path}`") for checkout in checkouts]
    print("\n".join(table(columns, rows)))
    for other in checkouts[1:]:
        print(checkouts[0].ratios(other))
    return 0


if __name__ == "__main__":
    sys.exit(main())
