"""The parts that are measured, and rounds of requests to them."""

import asyncio
import statistics
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import uvloop
from tests.testing.engine import Engine
from tests.testing.ports import free_port
from tests.testing.process import Failed, TowlineProcess
from tests.testing.registry import Registry, random_layer

from scripts.benchmarks.load import Exchange, at_once, request
from scripts.benchmarks.machine import cpu_seconds, machine_seconds, processes, resident

NODE = "bench-1"
CLIENTS = 16
OURS = ("controller", "agent", "broker")


@dataclass(frozen=True)
class Extent:
    """How much is measured: rounds of `seconds` each, and single exchanges."""

    rounds: int
    seconds: float
    exchanges: int
    commands: int


FULL = Extent(rounds=9, seconds=4.0, exchanges=400, commands=25)
QUICK = Extent(rounds=3, seconds=2.0, exchanges=100, commands=7)


@dataclass
class Rounds:
    """Rounds of one exchange: their rates, and what a request cost whom."""

    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cost: dict[str, list[float]] = field(default_factory=dict)
    """CPU seconds a request of each process, one entry a round."""
    elsewhere: list[float] = field(default_factory=list)
    """How many cores processes that are no part of this took."""

    @property
    def rate(self) -> float:
        """Requests a second: the median round."""
        return statistics.median(self.rates)

    def cpu(self, part: str) -> float:
        """CPU milliseconds a request of a part: the median round."""
        return 1000 * statistics.median(self.cost[part])

    async def add(self, exchange: Exchange, seconds: float, pids: dict[str, int]) -> None:
        """Run one more round."""
        before, machine = {name: cpu_seconds(pid) for name, pid in pids.items()}, machine_seconds()
        taken, elapsed = await at_once(exchange, CLIENTS, seconds=seconds)
        spent = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
        self.rates.append(len(taken) / elapsed)
        self.seconds += taken
        for name, cpu in spent.items():
            self.cost.setdefault(name, []).append(cpu / len(taken))
        others = machine_seconds() - machine - sum(spent.values())
        self.elsewhere.append(max(0.0, others) / elapsed)


@dataclass(frozen=True)
class Bench:
    """The running parts, and the exchanges that are measured on them."""

    load: Exchange
    pull: Exchange
    direct: Exchange
    pull_each: Exchange
    direct_each: Exchange
    pids: dict[str, int]
    extent: Extent
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    @classmethod
    def start(cls, extent: Extent, directory: Path, parts: ExitStack) -> Self:
        """Start the parts and put an image on the node."""
        engine = parts.enter_context(Engine())
        registry = parts.enter_context(Registry())
        layers = [random_layer("bench", size=1_000_000), random_layer("bench-2")]
        images = [
            registry.push_image("bench/image", f"1.{number}", layers).reference
            for number in range(CLIENTS)
        ]
        state, port = directory / "state", free_port()
        towline = TowlineProcess(
            *("up", "--state", state, "--listen", f"127.0.0.1:{port}"),
            *("--engine", engine.url, "--hostname", NODE, "--max-pulls", str(CLIENTS)),
            logs=directory,
        )
        parts.enter_context(towline)
        towline.wait_for_output(r"\bready\b")
        create = TowlineProcess(
            *("token", "create", "--subject", "bench", "--role", "write", "--state", state),
            logs=directory,
            name="token",
        )
        if create.run():
            raise Failed(create.tail())
        token = f"Authorization: Bearer {create.stdout.strip()}"

        def direct(image: str) -> list[tuple[bytes, int, bytes]]:
            repository, _, tag = image.rpartition(":")
            create = f"/images/create?fromImage={quote(repository, safe='')}&tag={tag}"
            return [
                (request("POST", create), 200, b"Status: "),
                (request("GET", f"/images/{image}/json"), 200, b'"Id"'),
            ]

        def pull(image: str) -> list[tuple[bytes, int, bytes]]:
            asked = request(
                *("POST", f"/node/{NODE}/container/docker/pull", token),
                "Content-Type: application/json",
                body=f'{{"image": "{image}"}}',
            )
            return [(asked, 202, b'"ok"')]

        runner = parts.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        return cls(
            load=Exchange(port, [[(request("GET", f"/node/{NODE}/load", token), 200, b'"ok"')]]),
            pull=Exchange(port, [pull(images[0])]),
            direct=Exchange(engine.socket, [direct(images[0])]),
            pull_each=Exchange(port, [pull(image) for image in images]),
            direct_each=Exchange(engine.socket, [direct(image) for image in images]),
            pids=processes([state, engine.directory, registry.directory]),
            extent=extent,
            run=runner.run,
        )

    def memory(self) -> dict[str, float]:
        """Return the MiB that each part has resident."""
        return {name: resident(self.pids[name]) for name in OURS}

    def rounds(self, *exchanges: Exchange) -> list[Rounds]:
        """Run rounds of the exchanges by turns, with all clients."""
        measured = [Rounds() for _ in exchanges]
        for _ in range(self.extent.rounds):
            for exchange, rounds in zip(exchanges, measured, strict=True):
                self.run(rounds.add(exchange, self.extent.seconds, self.pids))
        return measured
