"""What scripts/bench measures, on throw-away parts that are all gone when it ends."""

import argparse
import asyncio
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Self, cast
from urllib.parse import quote

import uvloop
from tests.testing.engine import Engine
from tests.testing.ports import free_port
from tests.testing.process import Failed, TowlineProcess
from tests.testing.registry import Registry, random_layer

NODE = "bench-1"
CLIENTS = 16
JOBS = 1000
"""Jobs after which memory is measured: half of them pulls, half of them reads."""
DOCUMENT = Path(__file__).parents[1] / "docs/benchmarks.md"
KEPT = "<!-- scripts/bench writes what stands above this line, and keeps what stands below. -->"

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


# The load generator: it shares the machine with what it measures, so it does as little as it can.


class Client(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection that sends prepared bytes and waits for the answer."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by name only

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"closed before the answer: {error}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = bytes(self._received[:end]).lower()
        body = bytes(self._received[end + 4 :])
        _, known, length = head.partition(b"\r\ncontent-length:")
        if len(body) < int(length.partition(b"\r\n")[0]) if known else body[-5:] != b"0\r\n\r\n":
            return
        self._received.clear()
        self._answer.set_result((int(head[9:12]), body))

    async def ask(self, request: bytes, status: int, promise: bytes) -> None:
        """Send a request; raise Failed unless the answer has this status and holds `promise`."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        found, body = await self._answer
        if found != status or promise not in body:
            raise Failed(f"{request[:80]!r}: {found} {body[:500]!r}")

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


@dataclass(frozen=True)
class Exchange:
    """What one client does again and again: requests in a row, on one connection of its own.

    Each client does one of the variants.
    """

    address: Path | int
    variants: Sequence[Sequence[tuple[bytes, int, bytes]]]

    async def connect(self) -> Client:
        """Open a connection to do it on."""
        loop = asyncio.get_running_loop()
        if isinstance(self.address, Path):
            return (await loop.create_unix_connection(Client, str(self.address)))[1]
        return (await loop.create_connection(Client, "127.0.0.1", self.address))[1]

    async def run(self, client: Client, number: int = 0) -> float:
        """Do it once, as this client does it, and return the seconds it took."""
        begun = time.perf_counter()
        for request, status, promise in self.variants[number % len(self.variants)]:
            await client.ask(request, status, promise)
        return time.perf_counter() - begun


def request(method: str, path: str, *headers: str, body: str = "") -> bytes:
    """Return the bytes of an HTTP request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", *headers]
    if method == "POST":
        lines.append(f"Content-Length: {len(body.encode())}")
    return "\r\n".join([*lines, "", body]).encode()


async def in_turn(exchanges: Sequence[Exchange], count: int) -> list[list[float]]:
    """Let one client do the exchanges by turns, `count` times each; return the seconds of each."""
    clients = [await exchange.connect() for exchange in exchanges]
    taken: list[list[float]] = [[] for _ in exchanges]
    for _ in range(count):
        for exchange, client, seconds in zip(exchanges, clients, taken, strict=True):
            seconds.append(await exchange.run(client))
    for client in clients:
        client.close()
    return taken


async def at_once(
    exchange: Exchange, clients: int, *, seconds: float = float("inf"), count: float = float("inf")
) -> tuple[list[float], float]:
    """Let many clients do an exchange side by side, until `seconds` or `count` are over.

    Returns the seconds that each took, and those that all took together.
    """
    connections = [await exchange.connect() for _ in range(clients)]
    taken: list[float] = []
    begun = time.perf_counter()

    async def work(number: int, client: Client) -> None:
        nonlocal count
        while count > 0 and time.perf_counter() - begun < seconds:
            count -= 1
            taken.append(await exchange.run(client, number))

    await asyncio.gather(*(work(*each) for each in enumerate(connections)))
    elapsed = time.perf_counter() - begun
    for client in connections:
        client.close()
    return taken, elapsed


# What the machine knows of processes


def processes(directories: Iterable[Path]) -> dict[str, int]:
    """Return the parts that run on these directories: process ids by what they are called here."""
    names = {"nats-server": "broker", "dockerd": "engine", "docker-registry": "registry"}
    found = {"load generator": os.getpid()}
    marks = [str(directory).encode() for directory in directories]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if any(mark in command for mark in marks):
            arguments = command.decode().split("\0")
            program = Path(arguments[0]).name
            towline = [verb for verb in ("controller", "agent", "up") if verb in arguments[:4]]
            found[towline[0] if towline else names.get(program, program)] = int(entry.name)
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, that a process has taken (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_seconds() -> float:
    """Return the CPU time that all processes together have taken (proc_stat(5))."""
    fields = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = fields
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Return the resident memory of a process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise Failed(f"process {pid} has no memory")


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


# The measurements


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


def command_seconds(commands: Sequence[Sequence[str]], count: int) -> list[float]:
    """Return the median wall time of each command, run by turns, after a first run of each."""
    taken: list[list[float]] = [[] for _ in commands]
    for number in range(count + 1):
        for command, seconds in zip(commands, taken, strict=True):
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if number:
                seconds.append(time.perf_counter() - begun)
    return [statistics.median(seconds) for seconds in taken]


def sync_milliseconds(directory: Path, count: int = 200) -> float:
    """Return how long this disk takes to append and sync a small record: the median."""
    taken = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(count):
            begun = time.perf_counter()
            file.write(b"x" * 512)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken)


def milliseconds(seconds: Sequence[float], percent: int = 50) -> float:
    """Return a percentile, in milliseconds."""
    return 1000 * statistics.quantiles(seconds, n=100)[percent - 1]


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


# The document


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


def describe_machine(directory: Path, pids: dict[str, int]) -> list[str]:
    """Return what the figures were measured on."""
    kind = output("df", "--output=fstype", str(directory)).splitlines()[-1]
    # Each says its version after words of its own.
    versions = {
        part: output(f"/proc/{pids[part]}/exe", "--version").splitlines()[0].split()
        for part in ("engine", "registry", "broker")
    }
    return [
        *describe_system(),
        f"- State on {kind}; appending and syncing 512 bytes there takes "
        f"{sync_milliseconds(directory):.2f} ms. The broker syncs every message it acknowledges.",
        f"- Docker Engine {versions['engine'][2].rstrip(',')}, "
        f"registry {versions['registry'][-1]}, nats-server {versions['broker'][-1]}",
    ]


def describe_system() -> list[str]:
    """Return the machine's processor, memory and system."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return [
        f"- {os.cpu_count()} cores of {cpu}, {memory:.0f} GiB of memory",
        f"- {system}, Linux {platform.release()}, Python {platform.python_version()}",
    ]


def output(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def say(sentence: str) -> None:
    """Tell a person how far it is."""
    print(sentence, file=sys.stderr, flush=True)


def write(path: Path, document: str) -> None:
    """Write what was measured; what people wrote below it stays."""
    kept = path.read_text().partition(KEPT)[2] if path.exists() else "\n"
    path.write_text(f"{document}\n{KEPT}{kept}")


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
