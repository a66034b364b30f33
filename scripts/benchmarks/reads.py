"""What one read and one pull cost, by turns with the same of other checkouts."""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import uvloop
from tests.testing.engine import Engine
from tests.testing.ports import free_port
from tests.testing.process import Failed, Process
from tests.testing.registry import Registry, random_layer

from scripts.benchmarks.document import goal, say, table
from scripts.benchmarks.load import Exchange, at_once, in_turn, request
from scripts.benchmarks.machine import processes
from scripts.benchmarks.parts import CLIENTS, NODE, OURS, Rounds

SINGLE = 60
"""Exchanges of one client in a turn."""
MOST = 1.15
"""How much longer one may take than with another checkout."""
HERE = Path(__file__).parents[2]


class Measured:
    """What was measured of one kind of request: an entry a turn."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.single: list[float] = []
        self.rounds = Rounds()

    async def turn(self, seconds: float, pids: dict[str, int]) -> None:
        """Ask with one client, then with many."""
        (taken,) = await in_turn([self.exchange], SINGLE)
        self.single.append(1000 * statistics.median(taken))
        await self.rounds.add(self.exchange, seconds, pids)

    def row(self, *names: str) -> list[str]:
        """Return its medians."""
        return [
            *names,
            f"{statistics.median(self.single):.2f}",
            f"{self.rounds.rate:,.0f}",
            *(f"{self.rounds.cpu(part):.2f}" for part in (*OURS, "load generator")),
        ]

    def ratios(self, other: "Measured") -> tuple[float, float]:
        """Return how p50 and rate of its turns compare with the same turns of another checkout."""
        times = [own / its for own, its in zip(self.single, other.single, strict=True)]
        rates = [own / its for own, its in zip(self.rounds.rates, other.rounds.rates, strict=True)]
        return statistics.median(times), statistics.median(rates)


class Images:
    """An engine and a registry, and a tag for each client.

    Parameters: `parts` ends them.
    """

    def __init__(self, parts: ExitStack) -> None:
        self.engine = parts.enter_context(Engine())
        registry = parts.enter_context(Registry())
        layers = [random_layer("bench", size=1_000_000), random_layer("bench-2")]
        self.references = [
            registry.push_image("bench/image", f"1.{number}", layers).reference
            for number in range(CLIENTS)
        ]


class Checkout:
    """`towline up` of one checkout, and what was measured of it, by kind of request.

    Parameters: `images` are what is pulled, too; None for reads alone.
    """

    def __init__(
        self, path: Path, directory: Path, images: Images | None, parts: ExitStack
    ) -> None:
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

        engine = ("--engine", "none" if images is None else images.engine.url)
        listen = ("--listen", f"127.0.0.1:{port}", "--max-pulls", str(CLIENTS))
        up = parts.enter_context(towline("up", *listen, "--hostname", NODE, *engine))
        # A read needs no engine, and what is ready for pulls has one.
        without = "no reachable node has a Docker Engine"
        up.wait_for_output(without if images is None else r"^ready$")
        create = towline("token", "create", "--subject", "bench", "--role", "write")
        create.start()
        if create.wait():
            raise Failed(create.tail())
        token = f"Authorization: Bearer {create.stdout.strip()}"
        read = (request("GET", f"/node/{NODE}/load", token), 200, b'"ok"')
        self.measured = {"read": Measured(Exchange(port, [[read]]))}
        if images is not None:
            pulls = [
                request(
                    *("POST", f"/node/{NODE}/container/docker/pull", token),
                    "Content-Type: application/json",
                    body=f'{{"image": "{reference}"}}',
                )
                for reference in images.references
            ]
            exchange = Exchange(port, [[(each, 202, b'"ok"')] for each in pulls])
            self.measured["pull"] = Measured(exchange)
        self.pids = processes([state])


async def measure(checkouts: Sequence[Checkout], turns: int, seconds: float) -> None:
    """Measure by turns, each time in the other order, after a first load that doesn't count."""
    for checkout in checkouts:
        for measured in checkout.measured.values():
            await at_once(measured.exchange, CLIENTS, seconds=2)
    for number in range(turns):
        for kind in checkouts[0].measured:
            for checkout in checkouts[:: -1 if number % 2 else 1]:
                await checkout.measured[kind].turn(seconds, checkout.pids)


def show(checkouts: Sequence[Checkout]) -> str:
    """Return tables of what was measured."""
    columns = ["", "of", "p50 ms, 1 client", f"per second, {CLIENTS} clients"]
    columns += [f"{part}, CPU ms each" for part in (*OURS, "load generator")]
    first, *others = checkouts
    rows = [
        checkout.measured[kind].row(f"`{checkout.path}`", f"a {kind}")
        for kind in first.measured
        for checkout in checkouts
    ]
    goals = []
    for other in others:
        for kind, measured in first.measured.items():
            time, rate = measured.ratios(other.measured[kind])
            name = f"p50 of a {kind}, of that of `{other.path}`"
            goals.append([*goal(name, time, most=MOST), f"{rate:.2f}"])
    lines = table(columns, rows)
    if goals:
        lines += ["", *table(["medians of the turns' ratios", "", "goal", "", "rate"], goals)]
    return "\n".join(lines)


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench --reads", description=__doc__)
    parser.add_argument("--against", type=Path, action="append", default=[], metavar="CHECKOUT")
    parser.add_argument("--with-pulls", action="store_true", help="of images that are there")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="with many clients, in a turn")
    options = parser.parse_args()
    try:
        with ExitStack() as parts:
            directory = Path(parts.enter_context(tempfile.TemporaryDirectory()))
            images = Images(parts) if options.with_pulls else None
            checkouts = [
                Checkout(path.resolve(), directory / str(number), images, parts)
                for number, path in enumerate([HERE, *options.against])
            ]
            say(f"{options.turns} turns of {len(checkouts)} checkouts ...")
            runner = parts.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
            runner.run(measure(checkouts, options.turns, options.seconds))
    except (Failed, OSError) as failure:
        print(f"The benchmark failed: {failure}", file=sys.stderr)
        return 1
    print(show(checkouts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
