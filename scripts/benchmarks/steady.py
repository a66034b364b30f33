"""What scripts/bench --steady shows: mixed jobs on many nodes while controllers are killed.

Nothing that was accepted may be lost, nothing that runs once may run twice, and no part's memory
may grow. It prints a table; all parts are gone when it ends.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from tests.testing.process import Failed, wait_until

from scripts.benchmarks.document import say, table
from scripts.benchmarks.machine import resident
from scripts.fleet import GROUPS, Fleet, hostname

MODULE = "counted_operations"
_SOURCE = '''\
"""An operation that must not run twice, and leaves a line behind when it runs."""

import os
from pathlib import Path

import msgspec

from towline.operation import Effect, operation


class Counted(msgspec.Struct):
    changed: bool = True


@operation("count.once", "POST count/once", permission="docker:write", effect=Effect.ONCE)
async def once(node) -> Counted:
    """Leave a line behind, once."""
    with Path(__file__).with_name("lines").open("a") as file:
        file.write(f"{node.job.id} {node.hostname}\\n")
    return Counted()
'''
CALLERS = 4
KILL_EVERY = 60.0
SAMPLE_EVERY = 30.0
ENDED = ("completed", "failed", "partial_failure")


class Load:
    """Jobs of every kind, one after the other for each caller.

    Attributes:
        accepted: the ids of the jobs that were accepted.
        answers: how often which kind was answered how.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.over = threading.Event()
        self.accepted: list[str] = []
        self.answers: Counter[str] = Counter()

    def call(self, number: int) -> None:
        """Send requests until `over` is set."""
        chance = random.Random(number)
        headers = {"Authorization": f"Bearer {self._fleet.token}", "Prefer": "wait=60"}
        with httpx.Client(headers=headers, timeout=120) as client:
            while not self.over.is_set():
                self._one(client, chance)

    def _one(self, client: httpx.Client, chance: random.Random) -> None:
        node = hostname(chance.randrange(self._fleet.nodes))
        group = f"group:g{chance.randrange(GROUPS)}"
        pull = {"image": f"app:{chance.randrange(20)}"}
        kind, method, path, body = chance.choice(
            [
                ("one read", "GET", f"/node/{node}/load", None),
                ("any read", "GET", "/node/_any/load", None),
                ("group read", "GET", f"/node/{group}/load", None),
                ("all read", "GET", "/node/_all/load", None),
                ("one pull", "POST", f"/node/{node}/container/docker/pull", pull),
                ("any pull", "POST", "/node/_any/container/docker/pull", pull),
                ("group pull", "POST", f"/node/{group}/container/docker/pull", pull),
                ("wave", "POST", f"/node/{group}/container/docker/pull?max_parallel=50", pull),
                ("one once", "POST", f"/node/{node}/count/once", {}),
                ("any once", "POST", "/node/_any/count/once", {}),
                ("group once", "POST", f"/node/{group}/count/once", {}),
            ]
        )
        try:
            answer = client.request(method, chance.choice(self._fleet.urls) + path, json=body)
        except httpx.TransportError:
            self.answers[f"{kind}: connection lost"] += 1
            time.sleep(0.2)
            return
        self.answers[f"{kind}: {answer.status_code}"] += 1
        with suppress(ValueError, KeyError):
            if answer.is_success:
                self.accepted.append(answer.json()["job_id"])


def problems(fleet: Fleet, load: Load, lines: Path) -> list[str]:
    """Return what should not be, once everything has ended."""
    found = []
    runs = Counter(lines.read_text().splitlines() if lines.exists() else [])
    found += [f"{line} ran {count} times" for line, count in runs.items() if count > 1]
    for job_id in load.accepted:
        shown = [client.get(f"/job/{job_id}") for client in fleet.clients]
        if any(answer.status_code != 200 for answer in shown):
            found.append(f"{job_id} was accepted and is lost")
            continue
        job = shown[0].json()
        if any(answer.json()["nodes"] != job["nodes"] for answer in shown):
            found.append(f"{job_id}: the controllers don't agree")
        if job["status"] not in ENDED:
            found.append(f"{job_id} has not ended: {job['nodes']}")
        if job["operation"]["type"] == "count.once":
            for result in job["results"]:
                ran = runs[f"{job_id} {result['hostname']}"]
                if result["status"] == "ok" and not ran:
                    found.append(f"{job_id} is ok on {result['hostname']}, where it did not run")
    return found


def settled(fleet: Fleet, load: Load) -> bool:
    """Return whether every job that was accepted has ended for the first controller."""
    with suppress(httpx.HTTPError):
        open_jobs: list[Any] = []
        for status in ("submitted", "processing"):
            page = fleet.clients[0].get(f"/job?status={status}&limit=1").json()
            open_jobs += page["items"]
        return not open_jobs
    return False


def measure(nodes: int, minutes: float) -> tuple[list[str], list[str]]:
    """Return the lines of a table, and the problems."""
    with tempfile.TemporaryDirectory(prefix="towline-steady-") as text:
        directory = Path(text)
        (directory / f"{MODULE}.py").write_text(_SOURCE)
        path = os.pathsep.join(filter(None, [text, os.environ.get("PYTHONPATH")]))
        os.environ["PYTHONPATH"] = path
        os.environ["TOWLINE_OPERATIONS"] = MODULE
        settings = {"operations": MODULE}
        with Fleet(directory, nodes, controllers=2, settings=settings) as fleet:
            fleet.wait_until_here()
            load = Load(fleet)
            rows = []
            begun = killed = time.monotonic()
            kills = 0
            with ThreadPoolExecutor(CALLERS) as callers:
                calls = [callers.submit(load.call, number) for number in range(CALLERS)]
                try:
                    while (now := time.monotonic()) < begun + 60 * minutes:
                        if now - killed >= KILL_EVERY:
                            killed = now
                            part = fleet.controllers[kills % len(fleet.controllers)]
                            kills += 1
                            part.kill()
                            part.start()
                        rows.append(_sample(fleet, load, now - begun, kills))
                        say(" ".join(rows[-1]))
                        time.sleep(SAMPLE_EVERY)
                finally:
                    load.over.set()
            for call in calls:
                call.result()
            for part in fleet.controllers:
                part.wait_for_output("answers at")
            wait_until(lambda: settled(fleet, load), timeout=180, what="the ends of all jobs")
            found = problems(fleet, load, directory / "lines")
            answers = [f"{what} {count}" for what, count in sorted(load.answers.items())]
    head = ["minute", "kills", "jobs", "controllers MiB", "broker MiB", "agents MiB"]
    return [*table(head, rows), "", f"Answers: {', '.join(answers)}.", ""], found


def _sample(fleet: Fleet, load: Load, seconds: float, kills: int) -> list[str]:
    controllers = [resident(part.pid) for part in fleet.controllers]
    return [
        f"{seconds / 60:.1f}",
        str(kills),
        str(len(load.accepted)),
        " ".join(f"{memory:.0f}" for memory in controllers),
        f"{resident(fleet.broker.pid):.0f}",
        f"{sum(resident(worker.pid) for worker in fleet.workers):.0f}",
    ]


def main() -> int:
    """Run it and print what was seen; return the exit status."""
    arguments = argparse.ArgumentParser(prog="scripts/bench --steady", description=__doc__)
    arguments.add_argument("--nodes", type=int, default=2000, metavar="N")
    arguments.add_argument("--minutes", type=float, default=30.0, metavar="N")
    options = arguments.parse_args()
    try:
        lines, found = measure(options.nodes, options.minutes)
    except (Failed, OSError) as failure:
        print(f"The benchmark failed: {failure}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    for problem in found:
        print(f"PROBLEM {problem}")
    print(f"{len(found)} problems" if found else "0 lost, 0 twice")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
