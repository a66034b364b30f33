"""Passwords in settings are neither repeated nor sent where they must not be."""

import socket
from pathlib import Path

import pytest

from tests.testing.cluster import NO_ENGINE
from tests.testing.command import CommandLine
from tests.testing.process import TowlineProcess
from tests.testing.secrets import found
from tests.testing.signing import write_keys

ENGINE_PASSWORD = "engine-password"
WRONG_PASSWORD = "wrong-password"


@pytest.mark.parametrize(
    "url",
    [
        "tests:{}@localhost:4222",
        "http://tests:{}@localhost:4222",
        "nats://tests:{}@localhost:port",
        "nats://tests:a#{}@localhost:4222",
        "nats://tests:{}/b@localhost:4222",
        "nats://localhost:4222,tests:{}@localhost:4222",
    ],
)
def test_a_password_in_a_url_that_is_no_brokers_is_not_repeated(url: str, tmp_path: Path) -> None:
    for part in ("agent", "controller"):
        done = CommandLine(tmp_path)(part, "--nats", url.format(WRONG_PASSWORD))
        assert done.status == 2
        assert "localhost" in done.stderr
        assert not found({WRONG_PASSWORD}, done.stdout + done.stderr)


def test_a_password_in_the_url_of_an_engine_is_refused_unseen(tmp_path: Path) -> None:
    url = f"tcp://robot:{ENGINE_PASSWORD}@127.0.0.1:2375"
    for part in (["up"], ["agent", "--nats", "nats://127.0.0.1:1"]):
        done = CommandLine(tmp_path)(*part, "--engine", url)
        assert (done.status, done.stdout) == (2, "")
        assert "user name" in done.stderr
        assert not found({ENGINE_PASSWORD}, done.stderr)


@pytest.mark.parametrize(("scheme", "logs_in"), [("nats", True), ("tls", False)])
def test_a_broker_that_does_not_encrypt_is_sent_no_password_where_the_url_says_tls(
    scheme: str, logs_in: bool, tmp_path: Path
) -> None:
    (tmp_path / "credentials").write_text(f"tests:{WRONG_PASSWORD}")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        agent = TowlineProcess(
            *("agent", "--state", tmp_path / "state", "--engine", NO_ENGINE),
            *("--nats", f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"),
            *("--nats-credentials", tmp_path / "credentials"),
            *("--job-keys", write_keys(tmp_path)[1]),
            logs=tmp_path,
        )
        with agent:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                connection.sendall(
                    b'INFO {"server_id":"x","version":"2.11.0","proto":1,"headers":true,'
                    b'"auth_required":true,"max_payload":1048576}\r\n'
                )
                received = connection.recv(65536)
    assert (WRONG_PASSWORD.encode() in received) is logs_in
    assert logs_in or received == b""
