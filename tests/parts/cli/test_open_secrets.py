"""Files with secrets that others may read, as people come upon them."""

import json
from pathlib import Path

import pytest

from tests.testing.command import CommandLine, failed
from tests.testing.ports import free_port

BROKER = ["--nats", "nats://127.0.0.1:1"]
LISTEN = ["--listen", "127.0.0.1:0"]
KEY = "0" * 64
NO_NODE = ["--machine-id", "a.b"]
"""With this an agent ends at once, when it has read its files."""


def open_to_all(path: Path, text: str = KEY) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    return path


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("token.key", ["up", *LISTEN, "--engine", "none"]),
        ("token.key", ["controller", *BROKER, *LISTEN]),
        ("token.key", ["token", "create", "--subject", "ann", "--role", "read"]),
        ("token.key", ["nodes"]),
        ("credentials.key", ["controller", *BROKER, *LISTEN]),
        ("jobs.key", ["controller", *BROKER, *LISTEN]),
        ("node.key", ["agent", *BROKER]),
    ],
)
def test_a_key_of_the_state_directory_that_anybody_may_read_is_refused(
    tmp_path: Path, name: str, command: list[str]
) -> None:
    path = open_to_all(tmp_path / "state" / name)
    url = {"TOWLINE_URL": f"http://127.0.0.1:{free_port()}", "TOWLINE_STATE": str(path.parent)}
    said = failed(CommandLine(path.parent, url)(*command))
    assert f"{str(path)!r}, is open to any user of this machine: its mode is 0644." in said
    assert f"chmod 600 {path}" in said


def test_a_password_file_that_anybody_may_read_is_a_warning_in_the_log(tmp_path: Path) -> None:
    path = open_to_all(tmp_path / "credentials", "towline:PASSWORD")
    done = CommandLine(tmp_path / "state")(
        *["agent", *BROKER, "--nats-credentials", str(path), *NO_NODE]
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("{")]
    entry = json.loads(line)
    assert (entry["level"], entry["part"]) == ("warning", "agent")
    assert f"chmod 600 {path}" in entry["event"]
    assert "PASSWORD" not in done.stderr


def test_a_named_key_that_anybody_may_read_is_a_warning_beside_the_token(tmp_path: Path) -> None:
    path = open_to_all(tmp_path / "key")
    done = CommandLine(tmp_path / "state")(
        *("token", "create", "--subject", "ann", "--role", "read", "--token-key", path)
    )
    assert done.status == 0
    assert len(done.stdout.split()) == 1
    assert f"chmod 600 {path}" in done.stderr
