"""A broker that dies or is away: what it has accepted it still has, and work goes on."""

import math
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from tests.testing.answers import refused
from tests.testing.cluster import Cluster
from tests.testing.gate import Gate
from tests.testing.passages import (
    EFFECTS,
    ONE,
    TWO,
    all_begun,
    ask,
    asked,
    counts,
    end,
    ends,
    hold,
    let_go,
)
from tests.testing.process import wait_until


def test_what_a_broker_has_accepted_it_still_has_if_it_is_killed_at_once(
    system: Cluster, gate: Gate, name: str
) -> None:
    made = []
    for number in range(3):
        jobs = asked(system.admin, ONE, f"{name}-{number}")
        system.broker.process.kill()
        system.broker.start()
        made.append(jobs)
    for number, jobs in enumerate(made):
        assert ends(system, jobs) == dict.fromkeys(EFFECTS, "ok")
        for effect in EFFECTS[:2]:
            assert counts(gate, f"{name}-{number}", effect) == (1, 1)


class Doorkeeper:
    """Sits where the broker was, counts who knocks, and lets nobody in."""

    def __init__(self, port: int) -> None:
        self.knocks = 0
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._listen, name="doorkeeper")

    def __enter__(self) -> Self:
        self._socket.listen(100)
        self._since = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self.seconds = time.monotonic() - self._since

    def _listen(self) -> None:
        while True:
            try:
                visitor, _ = self._socket.accept()
            except OSError:
                return
            self.knocks += 1
            visitor.close()


def test_while_the_broker_is_away_the_work_goes_on_the_answers_are_honest_and_nobody_spins(
    system: Cluster, gate: Gate, name: str
) -> None:
    hold(gate, name)
    jobs = asked(system.admin, ONE, name)
    all_begun(gate, name)
    parts = [system.controller, *system.controllers, *system.agents.values()]
    # A controller has two.
    connections = len(parts) + 1 + len(system.controllers)
    with ThreadPoolExecutor(2) as callers:
        waiting = callers.submit(ask, system.writer, TWO, "pass", name, prefer="wait=4")
        wait_until(lambda: counts(gate, name, "pass", TWO)[0] == 1, what="the request's task begun")
        system.broker.process.kill()
        try:
            with Doorkeeper(system.broker.port) as door:
                late = callers.submit(ask, system.admin, ONE, "once", f"{name}-late")
                let_go(gate, name)
                wait_until(
                    lambda: all(counts(gate, name, effect)[1] for effect in EFFECTS),
                    what="all to pass",
                )
                answer, refusal = waiting.result(), late.result()
                wait_until(lambda: door.knocks >= 5 * connections, what="further attempts")
        finally:
            system.broker.start()
    assert answer.status_code == 202
    assert answer.json()["results"][0]["status"] in ("pending", "running")
    assert refusal.status_code == 500
    assert "broker" in refusal.json()["error"]
    # Each pause is at least half of its bound, which doubles from 0.05 s.
    assert door.knocks <= connections * (2 + math.log2(1 + door.seconds / 0.025))

    system.wait_here(ONE, TWO)
    assert ends(system, jobs) == dict.fromkeys(EFFECTS, "ok")
    assert end(system, answer.json()["job_id"], TWO) == ("ok", None)
    for effect, node in (("pass", ONE), ("once", ONE), ("pass", TWO)):
        assert counts(gate, name, effect, node) == (1, 1)
    # Nobody could have received it, and nobody did.
    refused(system.admin.get(refusal.headers["Location"]), 404)
    assert counts(gate, f"{name}-late", "once") == (0, 0)
