"""Faults at random under a mixed load; then what became of each job, checked from outside."""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from tests.testing.broker import JOURNAL_USER, NODES_USER
from tests.testing.cluster import Cluster, NodePlan
from tests.testing.gate import Gate
from tests.testing.process import Failed, Process, wait_until
from tests.testing.relay import Cable

from scripts import set_faults

CALLERS = 12
FAULTS_AT_ONCE = 2
LONGEST_FAULT = 4.0
UNNOTICED = 8.0
"""Seconds added to a cut that shows only by silence: some are found out, others are over before."""
SETTLES_WITHIN = 150.0
"""Seconds after which all must have ended: longer than a read is kept for its node, and than the
controllers wait for whoever made it."""
ENDED = ("completed", "failed", "partial_failure")
GROUP = "group:some"


@dataclass
class Passage:
    """What was asked for under one name, and what was answered.

    Attributes:
        accepted: the jobs that are known to have been made.
        keyed: whether it was sent with an idempotency key, perhaps several times.
    """

    name: str
    effect: str
    target: str
    keyed: bool
    accepted: list[str] = field(default_factory=list)


class Load:
    """Callers that ask for all kinds of jobs, and note what they are answered."""

    def __init__(self, cluster: Cluster, gate: Gate, seed: int) -> None:
        self._gate = gate
        self._seed = seed
        urls = [str(client.base_url) for client in (cluster.admin, *cluster.others)]
        headers = {"Authorization": f"Bearer {cluster.token('admin')}"}
        self._clients = [httpx.Client(base_url=url, headers=headers, timeout=15) for url in urls]
        self._targets = ["_all", "_any", GROUP, *cluster.agents]
        self.over = threading.Event()
        self.passages: list[Passage] = []
        self.done: Counter[str] = Counter()

    def close(self) -> None:
        """Close the callers' connections."""
        for client in self._clients:
            client.close()

    def call(self, number: int) -> None:
        """Be one caller until it is over."""
        chance = random.Random(f"{self._seed} caller {number}")
        count = 0
        while not self.over.is_set():
            count += 1
            passage = Passage(
                f"c{number}-{count}",
                chance.choice(("pass", "once", "look")),
                chance.choice(self._targets),
                chance.random() < 0.3,
            )
            self.passages.append(passage)
            held = chance.random() < 0.4
            if held:
                self._gate.hold(passage.name)
            try:
                self._ask(passage, chance, chance.uniform(0, 2) if held else 0)
            finally:
                self._gate.open(passage.name)
            self.over.wait(chance.uniform(0, 0.1))

    def _ask(self, passage: Passage, chance: random.Random, held: float) -> None:
        answer = self._send(passage, chance, "respond-async" if held else "wait=5")
        steps = chance.random()
        job = passage.accepted[-1] if passage.accepted else None
        self.over.wait(held)
        if answer is None or job is None:
            return
        if steps < 0.25:
            self._steer(chance, job, "cancel")
        if 0.15 < steps < 0.35:
            self._gate.open(passage.name)
            answer = self._steer(chance, job, "retry")
            if answer is not None and answer.status_code == 201:
                passage.accepted.append(answer.json()["job_id"])

    def _send(self, passage: Passage, chance: random.Random, prefer: str) -> httpx.Response | None:
        headers = {"Prefer": prefer}
        if passage.keyed:
            headers["Idempotency-Key"] = passage.name
        url, query = f"/node/{passage.target}/gate", {}
        if chance.random() < 0.1:
            query["expires"] = "3s"
        method, body = "POST", {"name": passage.name}
        if passage.effect == "look":
            method, query, body = "GET", query | {"name": passage.name}, {}
        else:
            url += f"/{passage.effect}"
        again = chance.randint(1, 3) if passage.keyed else 1
        answer = None
        for _ in range(again):
            client = chance.choice(self._clients)
            with suppress(httpx.TransportError):
                answer = client.request(
                    method, url, params=query, json=body or None, headers=headers
                )
                self.done[f"{passage.effect} answered {answer.status_code}"] += 1
                job = answer.json().get("job_id") if answer.is_success else None
                if job is not None and job not in passage.accepted:
                    passage.accepted.append(job)
        return answer

    def _steer(self, chance: random.Random, job: str, what: str) -> httpx.Response | None:
        with suppress(httpx.TransportError):
            answer = chance.choice(self._clients).post(
                f"/job/{job}/{what}", headers={"Prefer": "wait=1"}
            )
            self.done[f"{what} answered {answer.status_code}"] += 1
            return answer
        return None


class Faults:
    """Kills, stops, stalls and cuts of parts, in an order that the seed decides.

    A controller `behind` the `cable` is cut off from one of its two accounts at a time, in a way
    that it notices at once, or in one that it has to find out.
    """

    def __init__(
        self,
        seed: int,
        parts: Mapping[str, Process],
        cable: Cable | None = None,
        behind: Sequence[Process] = (),
    ) -> None:
        self._cable = cable
        self._behind = behind
        self._chance = random.Random(f"{seed} faults")
        self._busy: set[str] = set()
        self.parts = parts
        self.done: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Do faults one after another, some at the same time."""
        until = time.monotonic() + seconds
        under_way: list[Future[None]] = []
        with ThreadPoolExecutor(FAULTS_AT_ONCE) as workers:
            while time.monotonic() < until:
                time.sleep(self._chance.uniform(0.1, 1.2))
                weights = [2 if name == "broker" else 1 for name in self.parts]
                (name,) = self._chance.choices(list(self.parts), weights)
                ways = [self._kill, self._kill, self._stall, self._stop]
                if self.parts[name] in self._behind:
                    ways += [self._cut_journal, self._cut_nodes, self._mute_journal]
                    ways += [self._mute_nodes]
                what = self._chance.choice(ways)
                pause = self._chance.uniform(0, LONGEST_FAULT)
                if name in self._busy or len(self._busy) >= FAULTS_AT_ONCE:
                    continue
                self._busy.add(name)
                under_way.append(workers.submit(self._do, name, what, pause))
        for fault in under_way:
            fault.result()

    def _do(self, name: str, what: Callable[[Process, float], None], pause: float) -> None:
        verb = what.__name__.strip("_").replace("_", " ")
        moment = time.strftime("%H:%M:%S")
        print(f"  {moment} {verb} {name} for {pause:.1f} s", flush=True)
        self.done[f"{verb} {name}"] += 1
        what(self.parts[name], pause)
        self._busy.discard(name)

    def _kill(self, part: Process, pause: float) -> None:
        part.kill()
        time.sleep(pause)
        part.start()

    def _stop(self, part: Process, pause: float) -> None:
        part.stop()
        time.sleep(pause)
        part.start()

    def _stall(self, part: Process, pause: float) -> None:
        part.signal(signal.SIGSTOP)
        time.sleep(pause)
        part.signal(signal.SIGCONT)

    def _cut_journal(self, part: Process, pause: float) -> None:
        self._part(Cable.bar, JOURNAL_USER, pause)

    def _cut_nodes(self, part: Process, pause: float) -> None:
        self._part(Cable.bar, NODES_USER, pause)

    def _mute_journal(self, part: Process, pause: float) -> None:
        self._part(Cable.mute, JOURNAL_USER, UNNOTICED + pause)

    def _mute_nodes(self, part: Process, pause: float) -> None:
        self._part(Cable.mute, NODES_USER, UNNOTICED + pause)

    def _part(self, cut: Callable[[Cable, str], None], user: str, pause: float) -> None:
        assert self._cable is not None
        cut(self._cable, user)
        time.sleep(pause)
        self._cable.admit(user)


def listed(client: httpx.Client) -> list[dict[str, Any]]:
    """Return all jobs that a controller knows, the newest first."""
    found, query = [], "limit=100"
    while True:
        page = client.get(f"/job?{query}").raise_for_status().json()
        found += page["items"]
        if not page.get("next_cursor"):
            return found
        query = f"limit=100&cursor={page['next_cursor']}"


def settled(clients: list[httpx.Client]) -> bool:
    """Whether every job has ended for every controller."""
    with suppress(httpx.HTTPError):
        return all(job["status"] in ENDED for client in clients for job in listed(client))
    return False


def violations(cluster: Cluster, gate: Gate, passages: list[Passage]) -> Iterator[str]:
    """Yield what should not be: of each job as both controllers show it, and as the gate knows."""
    clients = [cluster.admin, *cluster.others]
    lists = [{job["id"]: job for job in listed(client)} for client in clients]
    if any(found != lists[0] for found in lists):
        yield "the controllers' lists are not the same"
    by_name: dict[str, list[dict[str, Any]]] = {}
    for identity in lists[0]:
        shown = [client.get(f"/job/{identity}").json() for client in clients]
        job = shown[0]
        if any(other != job for other in shown):
            yield f"{identity}: the controllers show different things: {shown}"
        if job["status"] not in ENDED:
            yield f"{identity}: is {job['status']}: {job['results']}"
        if job["status"] != lists[0][identity]["status"]:
            yield f"{identity}: is {lists[0][identity]['status']} in the list, {job['status']} else"
        by_name.setdefault(job["operation"]["data"]["name"], []).append(job)
    for passage in passages:
        jobs = by_name.get(passage.name, [])
        known = {job["id"] for job in jobs}
        for lost in set(passage.accepted) - known:
            yield f"{passage}: {lost} was accepted and is lost"
        originals = [job for job in jobs if "retry_of" not in job]
        if len(originals) > 1:
            yield f"{passage}: {len(originals)} jobs of one request"
        for problem in untruths(gate, passage, jobs, list(cluster.agents)):
            results = [(job["id"], job["results"]) for job in jobs]
            yield f"{passage}: {problem}\n    {results}"


def untruths(
    gate: Gate, passage: Passage, jobs: list[dict[str, Any]], nodes: list[str]
) -> Iterator[str]:
    """Yield where the jobs of one name say what the gate's own record does not bear out."""
    name = passage.name
    begun = {node: gate.begun(name, node) for node in nodes}
    passed = {node: gate.passed(name, node) for node in nodes}
    meant: Counter[str] = Counter()
    good: Counter[str] = Counter()
    for job in jobs:
        for result in job["results"]:
            node, status, error = (
                result["hostname"],
                result["status"],
                result.get("error") or result.get("reason", ""),
            )
            good[node] += status == "ok"
            unbegun = "not begun before" in error or "not kept" in error
            meant[node] += not unbegun
            # A read leaves no trace in the ledger: its agent may have begun it in an earlier life.
            if unbegun and len(jobs) == 1 and begun[node] and passage.effect != "look":
                yield f"on {node} it was begun, and is said not to have been: {error}"
        if job["target"] == "_all" and "retry_of" not in job and len(job["results"]) != len(nodes):
            yield f"{job['id']} is for {len(job['results'])} nodes of {len(nodes)}"
    for node in nodes:
        if good[node] > passed[node]:
            yield f"on {node} {good[node]} are ok, and {passed[node]} have passed"
        if passage.effect == "once" and begun[node] > meant[node]:
            yield f"on {node} it was begun {begun[node]} times, for {meant[node]} jobs"
        if begun[node] and not meant[node] and passage.effect != "look":
            yield f"on {node} it was begun, and no job was for it"
    if passage.target == "_any" and passage.effect != "look":
        taken = sum(1 for node in nodes if begun[node])
        if taken > max(1, len(jobs)):
            yield f"{taken} nodes began {len(jobs)} jobs for any one"


def run(seconds: float, seed: int, agents: int, directory: Path) -> int:
    """Run it all; return how many violations there were."""
    (directory / "gate").mkdir()
    gate = Gate(directory / "gate")
    plans = [
        NodePlan(f"n{number}", labels=(GROUP,) if number % 2 else ()) for number in range(agents)
    ]
    with ExitStack() as parts:
        cluster = parts.enter_context(Cluster(directory, plans, env=gate.env))
        cable = parts.enter_context(Cable(cluster.broker.port))
        cluster.add_controller(nats=cable.relay.url)
        clients = [cluster.admin, *cluster.others]
        processes = (cluster.controller, *cluster.controllers, *cluster.agents.values())
        dying = {"broker": cluster.broker.process} | {each.name: each for each in processes}
        load, faults = Load(cluster, gate, seed), Faults(seed, dying, cable, cluster.controllers)
        with ThreadPoolExecutor(CALLERS) as callers:
            calls = [callers.submit(load.call, number) for number in range(CALLERS)]
            try:
                faults.run(seconds)
            finally:
                load.over.set()
        for call in calls:
            call.result()
        load.close()
        for passage in load.passages:
            gate.open(passage.name)
        begun, found = time.monotonic(), list[str]()
        for name, part in faults.parts.items():
            if not part.running:
                print(f"VIOLATION {name} ended by itself: {part.returncode}\n{part.tail()}")
                return 1
        for hostname in plans:
            wait_until(partial(_here, cluster, hostname.hostname), timeout=60, what="all nodes")
        try:
            wait_until(partial(settled, clients), timeout=SETTLES_WITHIN, what="the jobs' ends")
        except Failed as failure:
            found.append(str(failure))
        found += violations(cluster, gate, load.passages)
        jobs = Counter(job["status"] for job in listed(cluster.admin))
    for title, counted in (("faults", faults.done), ("load", load.done), ("jobs", jobs)):
        print(f"{title}: " + ", ".join(f"{what} {n}" for what, n in sorted(counted.items())))
    print(
        f"{sum(jobs.values())} jobs ended within {time.monotonic() - begun:.1f} s of the last fault"
    )
    for violation in found:
        print(f"VIOLATION {violation}")
    return len(found)


def _here(cluster: Cluster, hostname: str) -> bool:
    with suppress(httpx.HTTPError):
        node = cluster.node(hostname)
        return node is not None and node["status"] == "Ready"
    return False


def main() -> int:
    """Run with what the command line says; return the exit status."""
    arguments = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments.add_argument("--agents", type=int, default=4, metavar="COUNT")
    arguments.add_argument(
        "--sets", type=int, metavar="NODES", help="sets on so many light nodes, in place of that"
    )
    arguments.add_argument("--keep", action="store_true", help="leave logs and state there")
    options = arguments.parse_args()
    agents = options.sets or options.agents
    print(f"seed {options.seed}, {options.seconds:g} s, {agents} agents", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="towline-faults-"))
    try:
        if options.sets:
            faults = partial(Faults, options.seed)
            found = set_faults.run(options.seconds, options.seed, agents, directory, faults)
        else:
            found = run(options.seconds, options.seed, agents, directory)
    finally:
        if options.keep:
            print(f"logs and state: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    print("nothing is amiss" if not found else f"{found} violations (seed {options.seed})")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
