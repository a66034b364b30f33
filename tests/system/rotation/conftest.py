"""A fleet whose keys are replaced: two controllers, and nodes that came in in every way."""

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.testing.cluster import PULL, Cluster, NodePlan
from tests.testing.command import CommandLine, Finished
from tests.testing.engine import Engine
from tests.testing.gate import Gate
from tests.testing.own_broker import OwnBroker
from tests.testing.plain_http import UNENCRYPTED
from tests.testing.process import TowlineProcess, wait_until
from tests.testing.registry import PushedImage
from towline.agent.joining import join
from towline.trust import claims, identity
from towline.trust.identity import Identity
from towline.trust.keys import NODES_SIGNING, Trust
from towline.wire.joining import Renewal

BY_HAND, INVITED = "by-hand", "invited"
HERE = "group:here"
"""What nodes carry that are here all the while."""
DAY = 86400.0


class Rotating:
    """A broker, two controllers with files of their own, and nodes.

    `states` are the state directories of the controllers; the keys are replaced in the first.
    """

    def __init__(self, cluster: Cluster, engine: Engine) -> None:
        self.cluster = cluster
        self.engine = engine
        self.states = [cluster.directory / name for name in ("controller", "controller-0")]
        self.urls = [cluster.url, str(cluster.others[0].base_url).rstrip("/")]
        self.admin = cluster.admin

    @property
    def trust(self) -> Trust:
        """The keys of the first controller."""
        return Trust(self.states[0] / "trust")

    # Nodes

    def join(self, hostname: str, *labels: str) -> Identity:
        """Have a machine come in by an invite."""
        given = {"hostname": hostname, "labels": labels}
        token = self.admin.post("/invite", json=given).raise_for_status().json()["token"]
        state = self.cluster.directory / f"agent-{hostname}"
        state.mkdir()
        join(state, f"{self.urls[0]} {token}", hostname=None, labels={}, show=lambda text: None)
        return Identity(state / identity.DIRECTORY)

    def agent(self, hostname: str) -> TowlineProcess:
        """Return the agent of a node that came in by an invite, which isn't started."""
        return TowlineProcess(
            *("agent", "--engine", self.engine.url, "--state"),
            self.cluster.directory / f"agent-{hostname}",
            logs=self.cluster.directory,
            name=f"agent-{hostname}",
            env={**self.cluster._env, "TOWLINE_CONFIG": "/dev/null"},
        )

    def end_login(self, found: Identity) -> None:
        """Put a login in the place of a node's that ended yesterday, as if it had been away."""
        before, user = claims.read(claims.token_in(found.login.read_text()), claims.User)
        now = time.time()
        jwt = claims.sign(
            claims.User(issuer_account=user.issuer_account),
            by=self.trust.read(NODES_SIGNING).split()[0],
            about=before.sub,
            name=before.name,
            iat=int(now - 31 * DAY),
            exp=int(now - DAY),
        )
        found.renew(Renewal(jwt))

    # Keys

    def towline(self, *arguments: str) -> Finished:
        """Run a command on the machine of the first controller."""
        where = ("--url", self.urls[0], "--state", self.states[0])
        return CommandLine(self.states[0])(*arguments, *where)

    def step(self, kind: str, *flags: str) -> Finished:
        """Take a step, copy what has changed to the other controller, and wait until it is read."""
        controllers = [self.cluster.controller, *self.cluster.controllers]
        before = [each.stderr.count("keys read again") for each in controllers]
        done = self.towline("trust", "rotate", kind, *flags)
        assert done.status == 0, done
        for path in self.changed():
            shutil.copy2(self.states[0] / "trust" / path, self.states[1] / "trust" / path)
        for each, seen in zip(controllers, before, strict=True):

            def read(each: TowlineProcess = each, seen: int = seen) -> bool:
                return each.stderr.count("keys read again") > seen

            each.wait_for(read, what="keys that are read again")
        return done

    def changed(self) -> list[Path]:
        """Return which files the second controller has otherwise than the first."""
        own, other = (state / "trust" for state in self.states)
        files = [path for path in own.rglob("*") if path.is_file()]
        return [
            path.relative_to(own)
            for path in files
            if path.read_bytes() != (other / path.relative_to(own)).read_bytes()
        ]

    def kind(self, name: str, number: int = 0) -> dict[str, Any]:
        """Return what one of the controllers says of a kind of keys."""
        headers = {"Authorization": f"Bearer {self.cluster.token('admin')}"}
        url = f"{self.urls[number]}/trust"
        answer = httpx.get(url, headers=headers, timeout=60, verify=UNENCRYPTED)
        kinds: list[dict[str, Any]] = answer.raise_for_status().json()["kinds"]
        (found,) = [each for each in kinds if each["kind"] == name]
        return found

    def wait_behind(self, kind: str, *hostnames: str) -> None:
        """Wait until both controllers say that just these nodes don't know the keys of a kind."""
        for number in range(2):

            def reached(number: int = number) -> bool:
                return sorted(self.kind(kind, number).get("behind", [])) == sorted(hostnames)

            wait_until(reached, what=f"{hostnames or 'nobody'} to be behind")

    # What goes on meanwhile

    @contextlib.contextmanager
    def pulls(self, image: PushedImage) -> Iterator[None]:
        """Pull on all nodes that are here, by both controllers in turn, while the block goes on.

        No request fails, and no job ends in another way than well on each of the nodes.
        """
        over = threading.Event()
        jobs: list[str] = []
        failures: list[str] = []

        def pull() -> None:
            headers = {"Authorization": f"Bearer {self.cluster.token('admin')}"}
            with httpx.Client(headers=headers, timeout=60, verify=UNENCRYPTED) as client:
                while not over.wait(0.3):
                    for url in self.urls:
                        body = {"image": image.reference}
                        answer = client.post(f"{url}/node/{HERE}/{PULL}", json=body)
                        results = answer.json().get("results", [])
                        if {each["status"] for each in results} != {"ok"}:
                            failures.append(answer.text)
                        jobs.append(answer.json().get("job_id", ""))

        thread = threading.Thread(target=pull)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        assert failures == []
        assert len(jobs) > 1
        for job in jobs:
            assert self.cluster.job(job)["status"] == "completed"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def rotating(
    tmp_path_factory: pytest.TempPathFactory, gate: Gate, engine: Engine
) -> Iterator[Rotating]:
    """One node whose login was made by hand, and one that came in by an invite."""
    directory = tmp_path_factory.mktemp("rotating")
    plan = NodePlan(BY_HAND, engine.url, (HERE,))
    with Cluster(directory, [plan], gate.env, broker=OwnBroker) as cluster:
        cluster.add_controller()
        found = Rotating(cluster, engine)
        found.join(INVITED, HERE)
        with found.agent(INVITED):
            cluster.wait_here(INVITED)
            yield found
