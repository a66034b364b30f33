"""A fleet on `towline broker`: encrypted, and each part with a login of its own."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.cluster import NO_ENGINE, Cluster, NodePlan
from tests.testing.command import CommandLine, failed
from tests.testing.gate import Gate
from tests.testing.own_broker import OwnBroker
from tests.testing.ports import free_port
from tests.testing.process import TowlineProcess

NODES = ("web-01", "web-02")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Cluster]:
    plans = [NodePlan(name) for name in NODES]
    with Cluster(tmp_path_factory.mktemp("fleet"), plans, gate.env, broker=OwnBroker) as fleet:
        yield fleet


@pytest.mark.parametrize(("verb", "path"), [("POST", "pass"), ("POST", "once"), ("GET", "")])
def test_all_nodes_carry_out_what_they_are_sent(
    fleet: Cluster, gate: Gate, verb: str, path: str
) -> None:
    name = f"all-{path}"
    target = f"/node/_all/gate/{path}".rstrip("/")
    if verb == "GET":
        answer = fleet.admin.get(target, params={"name": name})
    else:
        answer = fleet.admin.post(target, json={"name": name})
    results = answer.raise_for_status().json()["results"]
    assert {each["hostname"]: each["status"] for each in results} == dict.fromkeys(NODES, "ok")
    assert [gate.passed(name, node) for node in NODES] == [1, 1]


def test_waves_and_leave_and_a_lead_need_no_more_than_a_node_s_own_subjects(
    fleet: Cluster, gate: Gate
) -> None:
    answer = fleet.admin.post(
        "/node/_all/gate/once", params={"canary": "1"}, json={"name": "waves"}
    )
    assert answer.status_code == 202, answer.text
    assert fleet.ended(answer.json()["job_id"])["status"] == "completed"
    assert [gate.passed("waves", node) for node in NODES] == [1, 1]


def test_a_node_s_machine_id_is_that_of_its_login(fleet: Cluster) -> None:
    known = fleet.admin.get("/agent").json()["agents"]
    assert {each["machine_id"] for each in known} == set(NODES)


def brought(fleet: Cluster, part: str, directory: Path) -> Path:
    """Return a state directory with what towline trust export and import have brought there."""
    assert isinstance(fleet.broker, OwnBroker)
    passphrase = directory / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text("correct horse battery\n")
    given = ("--passphrase-file", passphrase)
    first, second = fleet.broker.trust.directory.parent, directory / "state"
    exported = ("trust", "export", directory / "file", "--for", part, "--state", first)
    assert CommandLine(directory)(*exported, *given).status == 0
    assert (directory / "file").stat().st_mode & 0o777 == 0o600
    assert "already" in failed(CommandLine(directory)(*exported, *given))
    imported = ("trust", "import", directory / "file", "--state", second)
    assert "passphrase" in failed(CommandLine(directory)(*imported, stdin="another passphrase"))
    assert not (second / "trust").exists()
    assert CommandLine(directory)(*imported, stdin="correct horse battery\n").status == 0
    return second


def test_a_further_broker_needs_no_more_than_what_is_exported_for_one(
    fleet: Cluster, tmp_path: Path
) -> None:
    assert isinstance(fleet.broker, OwnBroker)
    state, port = brought(fleet, "broker", tmp_path), free_port()
    process = TowlineProcess(
        *("broker", "--state", state, "--listen", f"127.0.0.1:{port}"),
        logs=tmp_path,
        env={"TOWLINE_CONFIG": "/dev/null"},
    )
    context = ssl.create_default_context(cafile=fleet.broker.ca)
    with process:
        process.wait_for_output("The broker answers at")
        with socket.create_connection(("127.0.0.1", port)) as plain:
            assert plain.recv(4096).startswith(b"INFO ")
            with context.wrap_socket(plain, server_hostname="127.0.0.1"):
                pass
        assert process.stop() == 0


def test_a_further_controller_needs_no_more_than_what_is_exported_for_one(
    fleet: Cluster, tmp_path: Path
) -> None:
    assert isinstance(fleet.broker, OwnBroker)
    state = brought(fleet, "controller", tmp_path)
    (host, port) = fleet.broker.url.removeprefix("tls://").split(":")
    process = TowlineProcess(
        *("controller", "--state", state, "--listen", "127.0.0.1:0"),
        logs=tmp_path,
        env={"TOWLINE_BROKER_LISTEN": f"{host}:{port}", "TOWLINE_CONFIG": "/dev/null"},
    )
    with process:
        url = process.wait_for_output("answers at (http://[0-9.:]+)")[1]
        done = CommandLine(state)(
            *("node", "load", "--on", "web-01", "--url", url, "--state", state)
        )
        assert done.status == 0
        assert process.stop() == 0


def test_a_login_is_for_one_machine_id(fleet: Cluster, tmp_path: Path) -> None:
    login = fleet.broker.login_of("web-01")
    said = failed(CommandLine(tmp_path)("agent", *login, "--machine-id", "web-02"))
    assert "'web-01'" in said
    assert "'web-02'" in said


def test_a_fleet_is_whole_again_after_its_broker_was_killed(fleet: Cluster, gate: Gate) -> None:
    assert isinstance(fleet.broker, OwnBroker)
    (server,) = fleet.broker.servers
    server.kill()
    server.start()
    server.wait_for_output("The broker answers at")
    fleet.wait_here(*NODES)
    answer = fleet.admin.post("/node/_all/gate/pass", json={"name": "again"})
    assert answer.status_code == 202, answer.text
    assert fleet.ended(answer.json()["job_id"])["status"] == "completed"


def test_an_agent_whose_login_has_ended_returns_by_itself_once_it_has_another(
    fleet: Cluster, tmp_path: Path
) -> None:
    assert isinstance(fleet.broker, OwnBroker)
    arguments = fleet.broker.login_of("web-03")
    login = Path(arguments[arguments.index("--nats-credentials") + 1])
    login.write_text(fleet.broker.trust.node_login("web-03", expires=1))
    agent = TowlineProcess(
        *("agent", "--state", str(tmp_path), *arguments),
        *("--hostname", "web-03", "--engine", NO_ENGINE),
        logs=tmp_path,
        env={"TOWLINE_CONFIG": "/dev/null"},
    )
    with agent:
        agent.wait_for(lambda: "uthorization" in agent.stderr or "xpired" in agent.stderr)
        login.write_text(fleet.broker.trust.node_login("web-03"))
        fleet.wait_here(*NODES, "web-03")
