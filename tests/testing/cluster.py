"""Towline itself: broker, controller and agents, each a process of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.testing.assembly import Assembly
from tests.testing.broker import Broker
from tests.testing.plain_http import UNENCRYPTED
from tests.testing.ports import free_port
from tests.testing.process import TowlineProcess, wait_until
from towline.controller.token_keys import TokenKeys, load_keys

NO_ENGINE = "none"
PULL = "container/docker/pull"

WEB_1, WEB_2, DB_1, FRAIL = "web-01", "web-02", "db-01", "frail"
LABELS = {WEB_1: "group:web.dev.eu", WEB_2: "group:web.prod", DB_1: "group:website"}
"""The nodes of the fleets that tests share, and the label of each."""


@dataclass(frozen=True)
class NodePlan:
    """A node to be: its name, its engine's URL, its labels, and its agent's own environment."""

    hostname: str
    engine: str = NO_ENGINE
    labels: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


class Cluster(Assembly):
    """A broker, a controller and one agent a node, on loopback.

    `admin`, `writer` and `reader` are HTTP clients with a token of that role, `anyone` has none.

    Parameters: `directory` holds all state and logs; `env` is added to the environment of
    controller and agents; `broker` makes the broker.
    """

    def __init__(
        self,
        directory: Path,
        nodes: Sequence[NodePlan],
        env: Mapping[str, str | None] | None = None,
        broker: Callable[[Path], Broker] = Broker,
    ) -> None:
        super().__init__()
        self.directory = directory
        self._make_broker = broker
        # Whoever runs the tests may have logged in to registries.
        self._env = {"TOWLINE_HEARTBEAT": "1s", "TOWLINE_DOCKER_CONFIG": "none", **(env or {})}
        self._plans = nodes
        self._transports: dict[str, httpx.HTTPTransport] = {}
        self.agents: dict[str, TowlineProcess] = {}
        self.controllers: list[TowlineProcess] = []
        self.others: list[httpx.Client] = []
        """Clients of further controllers, with a token that may do everything."""

    def _start(self) -> None:
        self.broker = self._parts.enter_context(self._make_broker(self.directory))
        listen = f"127.0.0.1:{free_port()}"
        self.url = f"http://{listen}"
        self.controller = self._process(
            "controller", "--listen", listen, login=self.broker.journal_login
        )
        for plan in self._plans:
            self.add_node(plan)
        self.controller.wait_for_output("answers at")
        self.admin = self.client(self.token("admin"))
        self.writer = self.client(self.token("write"))
        self.reader = self.client(self.token("read"))
        self.anyone = self.client(None)
        self.wait_here(*self.agents)

    def _process(
        self,
        part: str,
        *arguments: str,
        login: Sequence[str],
        name: str | None = None,
        nats: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> TowlineProcess:
        name = name or part
        if part == "controller":
            self.broker.prepare(self.directory / name)
        process = TowlineProcess(
            part,
            *("--state", self.directory / name),
            *(nats if each == self.broker.url and nats else each for each in login),
            *arguments,
            logs=self.directory,
            name=name,
            env={**self._env, **(env or {})},
        )
        return self._parts.enter_context(process)

    def add_node(self, plan: NodePlan, *, nats: str | None = None) -> TowlineProcess:
        """Start one more agent; `wait_here` waits until it is there.

        `nats` is the URL by which it reaches the broker, where that isn't the broker's own.
        """
        labels = [part for label in plan.labels for part in ("--label", label)]
        agent = self._process(
            "agent",
            *("--hostname", plan.hostname, "--engine", plan.engine, *labels),
            login=self.broker.login_of(plan.hostname),
            name=f"agent-{plan.hostname}",
            nats=nats,
            env=plan.env,
        )
        self.agents[plan.hostname] = agent
        return agent

    def copy_node(self, hostname: str) -> TowlineProcess:
        """Return an agent that isn't started, with the machine id of one that is there.

        It has another hostname. Nothing waits for it; whoever enters it starts it.
        """
        name = f"agent-{hostname}-copy"
        return TowlineProcess(
            "agent",
            *("--state", self.directory / name),
            *self.broker.agent_login,
            *("--hostname", f"{hostname}-copy", "--engine", NO_ENGINE),
            *("--machine-id", self.machine_id(hostname)),
            logs=self.directory,
            name=name,
            env=self._env,
        )

    def add_controller(self, *, stranger: bool = False, nats: str | None = None) -> None:
        """Start one more controller on the same broker, with the same keys.

        A `stranger` doesn't have the one that credentials are kept with. `nats` is as for
        `add_node`.
        """
        listen = f"127.0.0.1:{free_port()}"
        name = f"controller-{len(self.controllers)}"
        keys = ["--token-key", str(self.directory / "controller" / "token.key")]
        if not stranger:
            key = self.directory / "controller" / "credentials.key"
            keys += ["--credentials-key", str(key)]
        process = self._process(
            *("controller", "--listen", listen, *keys),
            login=self.broker.journal_login,
            name=name,
            nats=nats,
        )
        process.wait_for_output("answers at")
        self.controllers.append(process)
        client = self.client(self.token("admin"), url=f"http://{listen}")
        self.others.append(client)

        def knows_all() -> bool:
            known = client.get("/agent").json()["agents"]
            return [node["status"] for node in known] == ["Ready"] * len(self.agents)

        wait_until(knows_all, what=f"{name} to know all nodes")

    @property
    def keys(self) -> TokenKeys:
        """What the controller signs tokens with."""
        return load_keys(self.directory / "controller" / "token.key", create=False)

    def token(
        self, *roles: str, permissions: list[str] | None = None, subject: str = "tests"
    ) -> str:
        """Return a token that holds for an hour."""
        return self.keys.create(
            subject=subject, roles=roles, permissions=permissions, lifetime=3600
        )

    def client(self, token: str | None, url: str | None = None) -> httpx.Client:
        """Return an HTTP client of the API that lasts as long as the cluster."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = url or self.url
        # Tests make a thousand of them: with connections of its own each would hold descriptors.
        transport = self._transports.get(url)
        if transport is None:
            transport = self._transports[url] = httpx.HTTPTransport(verify=UNENCRYPTED)
        client = httpx.Client(base_url=url, headers=headers, timeout=60, transport=transport)
        return self._parts.enter_context(client)

    def pull(
        self, target: str, image: str, *, prefer: str | None = None, query: str = "", **more: Any
    ) -> httpx.Response:
        """Ask for a pull, with a token that may; `more` stands in the body beside the image."""
        headers = {"Prefer": prefer} if prefer else {}
        return self.writer.post(
            f"/node/{target}/{PULL}{query}", json={"image": image, **more}, headers=headers
        )

    def node(self, hostname: str) -> dict[str, Any] | None:
        """Return what `GET /agent` says of a node, or None."""
        agents = self.admin.get("/agent").raise_for_status().json()["agents"]
        found: list[dict[str, Any]] = [a for a in agents if a["hostname"] == hostname]
        return found[0] if found else None

    def machine_id(self, hostname: str) -> str:
        """Return a node's machine id, from its state directory."""
        return (self.directory / f"agent-{hostname}" / "machine-id").read_text().strip()

    def job(self, job_id: str, *, wait: int = 30) -> dict[str, Any]:
        """Return a job, waiting for the nodes that are there."""
        answer = self.admin.get(f"/job/{job_id}", headers={"Prefer": f"wait={wait}"})
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def ended(self, job_id: str) -> dict[str, Any]:
        """Wait until no node of a job is pending or running, and return the job."""
        job: dict[str, Any] = {}

        def over() -> bool:
            nonlocal job
            job = self.job(job_id)
            return job["status"] in ("completed", "failed", "partial_failure")

        wait_until(over, timeout=60, what=f"the end of job {job_id}")
        return job

    def wait_here(self, *hostnames: str) -> None:
        """Wait until nodes are registered and here."""
        self._wait_for_state("Ready", hostnames)

    def wait_away(self, *hostnames: str) -> None:
        """Wait until the controller counts nodes as away."""
        self._wait_for_state("NotReady", hostnames)

    def _wait_for_state(self, state: str, hostnames: Sequence[str]) -> None:
        for hostname in hostnames:

            def reached(hostname: str = hostname) -> bool:
                node = self.node(hostname)
                return node is not None and node["status"] == state

            wait_until(reached, what=f"{hostname} {state}")

    def jobs_made(self) -> int:
        """Return how many jobs the broker has ever been given."""
        return len(self.broker.subjects("CHANGES", "job.*"))

    @property
    def logs(self) -> str:
        """All that controller, agents and broker have written."""
        written = [*self.directory.glob("*.err"), *self.directory.glob("*.out")]
        return "\n".join(path.read_text(errors="replace") for path in written)
