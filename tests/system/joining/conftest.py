"""A controller with a fleet's keys, on a broker of Towline's own; and who stands between."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.testing.cluster import NO_ENGINE
from tests.testing.command import CommandLine
from tests.testing.gate import Gate
from tests.testing.joining import Between
from tests.testing.own_broker import OwnBroker
from tests.testing.process import TowlineProcess, wait_until
from towline.agent.joining import join
from towline.controller.token_keys import load_keys


class Fleet:
    """A controller, and what commands reach it with.

    Parameters: `state` is the controller's state directory.
    """

    def __init__(self, broker: OwnBroker, url: str, state: Path, home: Path) -> None:
        self.broker = broker
        self.url = url
        self.state = state
        keys = load_keys(state / "token.key", create=False)
        self.token = keys.create(subject="ann", roles=["admin"], lifetime=3600)
        self.admin = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {self.token}"}, timeout=30
        )
        self.towline = CommandLine(home, {"TOWLINE_TOKEN": self.token, "TOWLINE_URL": url})

    def invite(self, **given: object) -> list[str]:
        """Return URL and token of a new invite."""
        made = self.admin.post("/invite", json=given).raise_for_status().json()
        return [self.url, made["token"]]

    def nodes(self) -> dict[str, dict[str, str]]:
        """Return the labels of the nodes that are registered, by hostname."""
        found = self.admin.get("/agent").raise_for_status().json()["agents"]
        return {each["hostname"]: each["labels"] for each in found}

    def ready(self) -> set[str]:
        """Return the hostnames of the nodes that are here."""
        found = self.admin.get("/agent").raise_for_status().json()["agents"]
        return {each["hostname"] for each in found if each["status"] == "Ready"}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("fleet")
    with OwnBroker(directory) as broker:
        state = broker.trust.directory.parent
        process = TowlineProcess(
            *("controller", "--state", state, "--listen", "127.0.0.1:0", "--nats", broker.url),
            logs=directory,
            env={"TOWLINE_CONFIG": "/dev/null", **gate.env},
        )
        with process:
            url = process.wait_for_output("answers at (http://[0-9.:]+)")[1]
            fleet = Fleet(broker, url, state, directory / "home")
            process.wait_for(
                lambda: (
                    fleet.admin.get("/join").status_code == 200
                    and fleet.admin.get("/invite").status_code == 200
                ),
                what="a controller that lets machines in",
            )
            yield fleet


@pytest.fixture
def between(fleet: Fleet) -> Iterator[Between]:
    with Between(fleet.url) as between:
        yield between


def agent(
    state: Path, gate: Gate, *options: str, env: dict[str, str] | None = None
) -> TowlineProcess:
    """Return an agent that has nothing but its state directory, and what is given here."""
    return TowlineProcess(
        *("agent", "--engine", NO_ENGINE, *options, "--state"),
        state,
        logs=state.parent,
        name=state.name,
        env={"TOWLINE_CONFIG": "/dev/null", **gate.env, **(env or {})},
    )


def try_join(between: Between, line: list[str], state: Path) -> None:
    """Come in as the command does, by way of whoever is between."""
    state.mkdir(exist_ok=True)
    join(
        *(state, f"{between.url} {line[1]}"),
        hostname=state.name,
        labels={},
        show=lambda text: None,
        retry_every=0.01,
    )


def runs(fleet: Fleet, gate: Gate, hostname: str) -> None:
    wait_until(lambda: hostname in fleet.ready(), what=f"{hostname} to be here")
    answer = fleet.admin.post(f"/node/{hostname}/gate/pass", json={"name": hostname})
    assert answer.json()["results"][0]["status"] == "ok", answer.text
    assert gate.passed(hostname, hostname) == 1
