"""`towline up` beyond loopback: encrypted, and whoever asks there verifies whom they ask."""

import asyncio
import hashlib
import os
import re
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.testing.cluster import NO_ENGINE
from tests.testing.command import TOWLINE, CommandLine, failed
from tests.testing.ports import free_port
from tests.testing.process import TowlineProcess, wait_until
from tests.testing.terminal import Terminal
from tests.testing.up import Up
from towline.client import ApiError, AsyncClient, Client
from towline.trust.keys import API_CA, CA


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    directory = tmp_path_factory.mktemp("up")
    ports = {"--listen": free_port(), "--broker-listen": free_port()}
    listen = [part for flag, port in ports.items() for part in (flag, f"0.0.0.0:{port}")]
    with Up(directory, *listen, "--engine", NO_ENGINE, "--hostname", "web-01") as up:
        up.url = f"https://127.0.0.1:{ports['--listen']}"
        up.wait_for_output(f"Towline answers at {up.url}")
        up.wait_for_output(f"The broker answers at tls://0.0.0.0:{ports['--broker-listen']}")
        up.wait_for_output("no reachable node has a Docker Engine")
        yield up


@pytest.fixture(scope="module")
def ca(up: Up) -> Path:
    return up.state / "trust" / API_CA


@pytest.fixture(scope="module")
def token(up: Up) -> str:
    made = CommandLine(up.state)("token", "create", "--subject", "tests", "--role", "admin")
    return made.stdout.strip()


def nodes(url: str, token: str, ca: Path | ssl.SSLContext | None) -> list[str]:
    """Return the nodes' hostnames; both clients return the same."""

    async def awaited() -> list[str]:
        async with AsyncClient(url, token, ca=ca) as client:
            return [each.hostname for each in await client.nodes()]

    with Client(url, token, ca=ca) as client:
        found = [each.hostname for each in client.nodes()]
    assert asyncio.run(awaited()) == found
    return found


def refused(url: str, token: str, ca: Path | None) -> str:
    """Return how both clients refuse what answers."""

    async def awaited() -> str:
        async with AsyncClient(url, token, ca=ca) as client:
            with pytest.raises(ApiError) as raised:
                await client.nodes()
        return str(raised.value)

    with Client(url, token, ca=ca) as client, pytest.raises(ApiError) as raised:
        client.nodes()
    assert asyncio.run(awaited()) == str(raised.value)
    return f"{raised.value.error} {raised.value.details}"


def test_both_clients_ask_whom_they_can_verify(up: Up, ca: Path, token: str) -> None:
    assert nodes(up.url, token, ca) == ["web-01"]
    assert nodes(up.url, token, ssl.create_default_context(cafile=ca)) == ["web-01"]


def test_nobody_else_is_asked_and_the_error_says_what_to_do(up: Up, ca: Path, token: str) -> None:
    said = refused(up.url, token, None)
    assert f"{up.url} is not trusted" in said
    assert "--ca, TOWLINE_CA or ca=" in said
    # Whoever has a broker's machine has its CA's key: it is none for the API.
    assert "is not trusted" in refused(up.url, token, ca.with_name(CA))
    said = refused(up.url.replace("127.0.0.1", "127.0.0.9"), token, ca)
    assert "127.0.0.9" in said
    assert "--address" in said


def test_who_writes_http_is_told_to_write_https(up: Up, ca: Path, token: str) -> None:
    said = refused(up.url.replace("https:", "http:"), token, ca)
    assert "write https://" in said


def test_commands_know_the_ca_by_the_state_directory_or_the_environment(
    up: Up, ca: Path, token: str, tmp_path: Path
) -> None:
    given = {"TOWLINE_URL": up.url, "TOWLINE_TOKEN": token, "TOWLINE_CA": str(ca)}
    for towline in (CommandLine(up.state), CommandLine(tmp_path, given)):
        assert "web-01" in towline("node", "show", "web-01").stdout
        # The controller makes it, and so has it in its list.
        made = towline("token", "create", "--subject", "made", "--role", "read", "--expires", "1h")
        assert (made.status, made.stderr) == (0, "")
    assert towline("token", "list").stdout.count(" made ") == 2


def test_commands_that_are_given_no_ca_say_which_they_need(
    up: Up, token: str, tmp_path: Path
) -> None:
    elsewhere = CommandLine(tmp_path, {"TOWLINE_URL": up.url, "TOWLINE_TOKEN": token})
    assert "trust/api-ca.pem" in failed(elsewhere("nodes"))
    assert "'/no/ca'" in failed(elsewhere("nodes", "--ca", "/no/ca"))


def test_a_login_takes_no_ca_that_nobody_has_compared(up: Up, token: str, tmp_path: Path) -> None:
    towline = CommandLine(tmp_path, {"XDG_CONFIG_HOME": str(tmp_path / "home")})
    login = ("login", up.url, "--token-stdin")
    status = CommandLine(up.state)("trust", "status").stdout
    (pin,) = re.findall(r"api-ca.pem +sha256 (\w+)", status)
    assert pin in failed(towline(*login, stdin=token))
    assert pin in failed(towline(*login, "--pin", "0" * 64, stdin=token))
    elsewhere = up.url.replace("127.0.0.1", "127.0.0.9")
    assert "--address" in failed(towline("login", elsewhere, *login[2:], "--pin", pin, stdin=token))
    assert not (tmp_path / "home").exists()
    assert towline(*login, "--pin", pin, stdin=token).status == 0
    assert "web-01" in towline("node", "list").stdout
    # Also where the system has come to trust somebody else of the same name.
    assert "web-01" in towline("node", "list", env={"SSL_CERT_FILE": "/dev/null"}).stdout


def test_at_a_terminal_a_login_asks_for_the_fingerprint_and_for_the_token(
    up: Up, ca: Path, token: str, tmp_path: Path
) -> None:
    shown = hashlib.sha256(ssl.PEM_cert_to_DER_cert(ca.read_text())).hexdigest()
    towline = CommandLine(tmp_path, {"XDG_CONFIG_HOME": str(tmp_path / "home")})
    for answer, logged_in in (("n", False), ("y", True)):
        with Terminal([TOWLINE, "login", up.url, "--name", "prod"], towline.env) as terminal:
            terminal.wait_for(shown)
            terminal.wait_for("Is it the same")
            terminal.type(f"{answer}\n")
            if logged_in:
                terminal.wait_for("Token:")
                terminal.type(f"{token}\n")
                terminal.wait_for("Logged in")
            assert (terminal.wait() == 0) is logged_in
        assert token not in terminal.screen
    assert "web-01" in towline("node", "list").stdout


def test_nothing_is_answered_in_plain_text_nor_by_old_tls(up: Up, ca: Path) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(up.url.replace("https:", "http:") + "/health")
    context = ssl.create_default_context(cafile=ca)
    assert httpx.get(f"{up.url}/health", verify=context).status_code == 200
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{up.url}/health", verify=context)


def test_another_machine_is_a_node_of_it_and_the_broker_speaks_to_nobody_in_the_clear(
    up: Up, ca: Path, token: str, tmp_path: Path
) -> None:
    broker = up.wait_for_output("The broker answers at tls://0.0.0.0:([0-9]+)")[1]
    login = CommandLine(up.state)("trust", "login", "other").stdout
    (tmp_path / "node.creds").touch(0o600)
    (tmp_path / "node.creds").write_text(login)
    agent = TowlineProcess(
        *("agent", "--state", tmp_path / "state", "--nats", f"tls://127.0.0.1:{broker}"),
        *("--nats-ca", up.state / "trust" / CA, "--nats-credentials", tmp_path / "node.creds"),
        *("--job-keys", up.state / "jobs.pub", "--hostname", "web-02", "--engine", NO_ENGINE),
        logs=tmp_path,
        env={"TOWLINE_CONFIG": "/dev/null"},
    )
    with agent, Client(up.url, token, ca=ca) as client:
        wait_until(lambda: "web-02" in {each.hostname for each in client.nodes()}, what="web-02")
        assert agent.stop() == 0
    with socket.create_connection(("127.0.0.1", int(broker))) as plain:
        assert b'"tls_required":true' in plain.recv(4096)


def test_its_broker_is_started_again_when_it_was_killed(up: Up, ca: Path, token: str) -> None:
    before = up.parts()["broker"]
    os.kill(before, signal.SIGKILL)
    up.wait_for(lambda: up.parts().get("broker", before) != before, what="another broker")

    def loads() -> bool:
        with httpx.Client(verify=ssl.create_default_context(cafile=ca), timeout=60) as client:
            answer = client.get(
                f"{up.url}/node/web-01/load", headers={"Authorization": f"Bearer {token}"}
            )
        return answer.status_code == 200 and answer.json()["results"][0]["status"] == "ok"

    wait_until(loads, what="a node that answers")
