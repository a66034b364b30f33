"""Parts that are not started, and why."""

import os
from pathlib import Path

import pytest

from tests.testing.command import CommandLine, failed
from tests.testing.signing import write_keys
from towline.runtime.state_directory import Lock

BROKER = ["--nats", "nats://127.0.0.1:1"]
NOT_STARTED: dict[str, tuple[list[str], str]] = {
    "a label without a value": (["agent", *BROKER, "--label", "web"], "'web'"),
    "a label with a wildcard": (["agent", *BROKER, "--label", "group:web.*"], "'group:web.*'"),
    "a label with '='": (["agent", *BROKER, "--label", "group=web"], "'group=web'"),
    "a label twice": (["agent", *BROKER, "--label", "a:b", "--label", "a:c"], "'a'"),
    "a hostname with a blank": (["agent", *BROKER, "--hostname", "web 01"], "'web 01'"),
    "a hostname with a wildcard": (["agent", *BROKER, "--hostname", "web.>"], "'web.>'"),
    "a hostname that is reserved": (["agent", *BROKER, "--hostname", "_all"], "'_all'"),
    "a hostname that is too long": (["agent", *BROKER, "--hostname", "a" * 70], "aaa"),
    "a machine id with a dot": (["agent", *BROKER, "--machine-id", "a.b"], "'a.b'"),
    "an engine that is none": (["agent", *BROKER, "--engine", "docker"], "'docker'"),
    "an agent without a broker": (["agent"], "--nats"),
    "a controller without a broker": (["controller"], "--nats"),
    "a broker of no words": (["agent", "--nats", " , "], "--nats"),
    "a broker of another protocol": (["agent", "--nats", "http://a:4222"], "'http://a:4222'"),
    "a broker without a protocol": (["controller", "--nats", "localhost:4222"], "'localhost:4222'"),
    "a broker whose port is none": (["agent", "--nats", "nats://a:port"], "'nats://a:port'"),
    "credentials that are not there": (
        ["agent", *BROKER, "--nats-credentials", "/no/file"],
        "'/no/file'",
    ),
    "credentials that are none": (["agent", *BROKER, "--nats-credentials", "/dev/null"], "null"),
    "certificates that are not there": (
        ["agent", "--nats", "tls://a:4222", "--nats-ca", "/no/ca"],
        "'/no/ca'",
    ),
    "an address that is none": (["controller", *BROKER, "--listen", "8080"], "'8080'"),
    "an API for others without a certificate": (
        ["controller", *BROKER, "--listen", "0.0.0.0:0"],
        "--plain-http",
    ),
    "a certificate without its key": (["controller", *BROKER, "--tls-cert", "/x"], "--tls-key"),
    "a certificate that is not there": (
        ["controller", *BROKER, "--tls-cert", "/no/cert", "--tls-key", "/no/key"],
        "'/no/cert'",
    ),
    "both plain and encrypted": (
        ["controller", *BROKER, "--plain-http", "--tls-cert", "/x", "--tls-key", "/y"],
        "--plain-http",
    ),
    "a key that is not there": (["controller", *BROKER, "--token-key", "/no/key"], "'/no/key'"),
}


@pytest.mark.parametrize("what", NOT_STARTED)
def test_a_part_is_not_started_with_what_cannot_work(what: str, tmp_path: Path) -> None:
    arguments, named = NOT_STARTED[what]
    (tmp_path / "state").mkdir(mode=0o700)
    write_keys(tmp_path / "state")
    said = failed(CommandLine(tmp_path / "state")(*arguments))
    assert said.startswith("towline: ")
    assert named in said


def test_an_agent_without_a_key_is_not_started_and_says_what_to_copy(tmp_path: Path) -> None:
    said = failed(CommandLine(tmp_path / "state")("agent", *BROKER))
    assert "could believe no controller" in said
    assert "Copy jobs.pub of a controller's state directory" in said
    assert "--job-keys FILE" in said
    secret, public = write_keys(tmp_path)
    named = ["agent", *BROKER, "--job-keys"]
    said = failed(CommandLine(tmp_path / "state")(*named, str(secret)))
    assert "has a secret in it" in said
    # It goes on to the next thing that is wrong.
    wrong = ["--nats-credentials", "/no/file"]
    assert "/no/file" in failed(CommandLine(tmp_path / "state")(*named, str(public), *wrong))


@pytest.mark.parametrize("part", ["agent", "controller"])
def test_two_of_a_kind_do_not_share_a_state_directory(part: str, tmp_path: Path) -> None:
    lock = Lock(tmp_path, part)
    said = failed(CommandLine(tmp_path)(part, *BROKER))
    lock.close()
    assert repr(str(tmp_path)) in said
    assert str(os.getpid()) in said
