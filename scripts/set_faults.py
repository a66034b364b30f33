"""Sets while parts die: in the end each node has what its sets want, and nothing was done twice."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from tests.testing.plain_http import UNENCRYPTED
from tests.testing.process import Failed, wait_until

from scripts.fleet import GROUPS, Fleet

CONTROLLERS = 2
CALLERS = 3
SETS = ("first", "second", "third")
IMAGES = ("one", "two")
TAGS = ("1", "2", "3")
"""Those that any set may want; `LAST` is wanted in the end, and was by none before."""
LAST = "4"
TARGETS = ("_all", "group:g1", "group:g2;group:g3", "_all,!group:g4")
SETTLES_WITHIN = 150.0
"""Seconds in which all sets converge: longer than a job is left to nodes that died with it."""
LOSERS = "group:g2"
"""Nodes from which an image is removed in the end, and that are to have it again."""
FILLED_WITHIN = 60.0
"""Seconds in which they have: nothing is in the way of it any more."""
SETTLED_FOR = 3.0


class Load:
    """Callers that declare, steer and remove sets, pull and remove images by hand, and cancel what
    sets have made."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self._seed = seed
        headers = {"Authorization": f"Bearer {fleet.token}"}
        self._clients = [
            httpx.Client(base_url=url, headers=headers, timeout=15, verify=UNENCRYPTED)
            for url in fleet.urls
        ]
        self.over = threading.Event()
        self.done: Counter[str] = Counter()

    def close(self) -> None:
        """Close the callers' connections."""
        for client in self._clients:
            client.close()

    def call(self, number: int) -> None:
        """Be one caller until it is over."""
        chance = random.Random(f"{self._seed} caller {number}")
        ways: list[Callable[[random.Random], None]] = [self._put, self._put, self._put]
        ways += [self._steer, self._steer, self._remove, self._pull, self._lose, self._cancel]
        while not self.over.is_set():
            with suppress(httpx.TransportError):
                chance.choice(ways)(chance)
            self.over.wait(chance.uniform(0, 1.0))

    def _send(self, chance: random.Random, method: str, path: str, **more: Any) -> httpx.Response:
        answer = chance.choice(self._clients).request(method, path, **more)
        what = path.rsplit("/", 1)[-1] if method == "POST" else path.split("/")[1]
        self.done[f"{method} {what} answered {answer.status_code}"] += 1
        return answer

    def _put(self, chance: random.Random) -> None:
        images = chance.sample(IMAGES, chance.randint(1, len(IMAGES)))
        waves = [None, {"canary": 1, "max_failures": 0}, {"max_parallel": "20%"}]
        body = {
            "target": chance.choice(TARGETS),
            "images": [f"{image}:{chance.choice(TAGS)}" for image in images],
            "options": chance.choice(waves),
        }
        sent = {name: value for name, value in body.items() if value is not None}
        self._send(chance, "PUT", f"/set/{chance.choice(SETS)}", json=sent)

    def _steer(self, chance: random.Random) -> None:
        what = chance.choice(("pause", "resume", "resume", "rollback"))
        self._send(chance, "POST", f"/set/{chance.choice(SETS)}/{what}")

    def _remove(self, chance: random.Random) -> None:
        self._send(chance, "DELETE", f"/set/{chance.choice(SETS)}")

    def _pull(self, chance: random.Random) -> None:
        body = {"image": f"{chance.choice(IMAGES)}:{chance.choice(TAGS)}"}
        path = f"/node/group:g{chance.randrange(GROUPS)}/container/docker/pull"
        self._send(chance, "POST", path, json=body, headers={"Prefer": "wait=1"})

    def _lose(self, chance: random.Random) -> None:
        image = f"{chance.choice(IMAGES)}:{chance.choice(TAGS)}"
        path = f"/node/group:g{chance.randrange(GROUPS)}/container/docker/image/{image}"
        self._send(chance, "DELETE", path, headers={"Prefer": "wait=1"})

    def _cancel(self, chance: random.Random) -> None:
        answer = self._send(chance, "GET", "/job?limit=20")
        if not answer.is_success:
            return
        for job in answer.json()["items"]:
            if job.get("caller", "").startswith("set:"):
                self._send(chance, "POST", f"/job/{job['id']}/cancel")
                return

    def declare_last(self) -> None:
        """Declare what is to be so in the end, at whichever controller answers."""
        for name, target in zip(SETS, TARGETS[1:], strict=True):
            images = [f"{name}-{image}:{LAST}" for image in IMAGES]
            body = {"target": target, "images": [*images, f"one:{LAST}"]}

            def declared(name: str = name, body: dict[str, Any] = body) -> bool:
                for client in self._clients:
                    with suppress(httpx.TransportError):
                        put = client.put(f"/set/{name}", json=body)
                        resumed = client.post(f"/set/{name}/resume")
                        if put.is_success and resumed.status_code in (200, 409):
                            return True
                        assert put.status_code not in (400, 403), put.text
                return False

            wait_until(declared, timeout=60, what=f"the set {name} to be declared")


def converged(fleet: Fleet) -> bool:
    """Whether all sets have converged for every controller."""
    with suppress(httpx.HTTPError):
        for client in fleet.clients:
            sets = client.get("/set").raise_for_status().json()["sets"]
            if {each["name"] for each in sets} != {*SETS}:
                return False
            if any(each["status"] != "converged" for each in sets):
                return False
        return True
    return False


def jobs_of_sets(client: httpx.Client) -> list[dict[str, Any]]:
    """Return all jobs that sets have made, in full."""
    found: list[dict[str, Any]] = []
    query = "limit=100"
    while True:
        page = client.get(f"/job?{query}").raise_for_status().json()
        ids = [each["id"] for each in page["items"] if each["caller"].startswith("set:")]
        found += [client.get(f"/job/{each}").raise_for_status().json() for each in ids]
        if not page.get("next_cursor"):
            return found
        query = f"limit=100&cursor={page['next_cursor']}"


def lose_one(fleet: Fleet) -> None:
    """Take an image that a set wants from some nodes by hand, and wait until they have it again."""
    client = fleet.clients[0]
    before = {each["id"] for each in jobs_of_sets(client)}
    path = f"/node/{LOSERS}/container/docker/image/one:{LAST}"
    answer = client.delete(path, headers={"Prefer": "wait=30"}).raise_for_status()
    if not all(each.get("changed") for each in answer.json()["results"]):
        raise Failed(f"one:{LAST} could not be removed: {answer.text}")

    def given_again() -> bool:
        # The sets were true before as well: only a further job says that it was noticed.
        newest = client.get("/job?limit=20").raise_for_status().json()["items"]
        made = {each["id"] for each in newest if each["caller"].startswith("set:")}
        return not made <= before and converged(fleet)

    what = f"one:{LAST} to be brought back to {LOSERS}"
    wait_until(given_again, timeout=FILLED_WITHIN, what=what)


def violations(fleet: Fleet) -> Iterator[str]:
    """Yield what should not be: of each node at each controller, and of the jobs that were made."""
    for number, client in enumerate(fleet.clients):
        for view in client.get("/set").json()["sets"]:
            if view["status"] != "converged":
                yield f"controller {number}: {view}"
            for image in view["images"]:
                query = {"reference": image["image"], "target": view["target"], "limit": 1000}
                found = client.get("/image/nodes", params=query).raise_for_status().json()
                for node in found["nodes"]:
                    if node["state"] != "has" or node.get("digest") != image.get("current"):
                        yield f"controller {number}: {view['name']} {image['image']}: {node}"
    jobs = jobs_of_sets(fleet.clients[0])
    for job in jobs:
        if job["status"] not in ("completed", "failed", "partial_failure"):
            yield f"{job['id']} of {job['caller']} is {job['status']}"
    made: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for job in jobs:
        what = (job["caller"], str(job["operation"]["data"]), str(job.get("lead")))
        for result in job["results"]:
            # One that was cancelled may still be at it where it was begun.
            if result["status"] == "ok":
                made.setdefault((*what, result["hostname"]), []).append(result | {"job": job["id"]})  # type: ignore[arg-type]
    for who, results in made.items():
        changed = [each["job"] for each in results if each.get("changed")]
        if len(set(changed)) < len(changed):
            yield f"{who}: one job changed it twice: {changed}"


def run(seconds: float, seed: int, nodes: int, directory: Path, faults: Any) -> int:
    """Run it all; return how many violations there were.

    Args:
        faults: makes what does faults to parts, by their names.
    """
    with Fleet(directory, nodes, controllers=CONTROLLERS, processes=3, heartbeat="1s") as fleet:
        fleet.wait_until_here()
        parts = {"broker": fleet.broker.process}
        parts |= {each.name: each for each in (*fleet.controllers, *fleet.workers)}
        load, doing = Load(fleet, seed), faults(parts)
        with ThreadPoolExecutor(CALLERS) as callers:
            calls = [callers.submit(load.call, number) for number in range(CALLERS)]
            try:
                doing.run(seconds)
            finally:
                load.over.set()
        for call in calls:
            call.result()
        for name, part in parts.items():
            if not part.running:
                print(f"VIOLATION {name} ended by itself: {part.returncode}\n{part.tail()}")
                return 1
        begun, found = time.monotonic(), list[str]()
        load.declare_last()
        load.close()
        try:
            wait_until(lambda: converged(fleet), timeout=SETTLES_WITHIN, what="converged sets")
            lose_one(fleet)
            time.sleep(SETTLED_FOR)
        except Failed as failure:
            found.append(str(failure))
        found += violations(fleet)
        jobs = Counter(job["status"] for job in jobs_of_sets(fleet.clients[0]))
    for title, counted in (("faults", doing.done), ("load", load.done), ("jobs of sets", jobs)):
        print(f"{title}: " + ", ".join(f"{what} {n}" for what, n in sorted(counted.items())))
    print(f"looked at within {time.monotonic() - begun:.1f} s of the last fault")
    for violation in found:
        print(f"VIOLATION {violation}")
    return len(found)
