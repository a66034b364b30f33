"""`towline up`: what it makes of its settings, and what it leaves in the state directory."""

import shlex
import socket
import stat
from pathlib import Path

import httpx

from tests.parts.runtime.conftest import RUNNING
from tests.testing.cluster import NO_ENGINE
from tests.testing.command import CommandLine
from tests.testing.up import Up
from towline.trust.keys import FILES


def test_it_prints_where_it_answers_and_a_command_that_makes_a_token(tmp_path: Path) -> None:
    with Up(tmp_path, "--engine", NO_ENGINE, state="a b/state", cwd=tmp_path) as up:
        up.wait_for_output(RUNNING)
        answers, token, *rest = up.stdout.splitlines()
        assert answers == f"Towline answers at {up.url}"
        assert all(line.startswith("waiting: ") for line in rest)

        command = shlex.split(token.removeprefix("A token: "))
        made = CommandLine(tmp_path)(*("alice" if word == "NAME" else word for word in command[1:]))
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        (node,) = httpx.get(f"{up.url}/agent", headers=headers).raise_for_status().json()["agents"]
        assert node["hostname"] == socket.gethostname()


def test_settings_reach_the_parts(tmp_path: Path) -> None:
    tmp_path.joinpath("towline.toml").write_text(
        'labels = ["rack:r12"]\n[roles]\nguard = ["agent:read"]'
    )
    file = str(tmp_path / "towline.toml")
    with Up(tmp_path, "--config", file, "--hostname", "web-01", "--engine", NO_ENGINE) as up:
        up.wait_for_output(RUNNING)
        towline = CommandLine(up.state, env={"TOWLINE_CONFIG": file})
        token = towline("token", "create", "--subject", "bob", "--role", "guard").stdout.strip()
        headers = {"Authorization": f"Bearer {token}"}
        (node,) = httpx.get(f"{up.url}/agent", headers=headers).raise_for_status().json()["agents"]
        assert (node["hostname"], node["labels"]) == ("web-01", {"rack": "r12"})


def test_what_is_secret_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    up = Up(tmp_path, "--engine", NO_ENGINE)
    up.command = ["/bin/sh", "-c", 'umask 000; exec "$@"', "sh", *up.command]
    with up:
        up.wait_for_output(RUNNING)
        paths = [up.state, *up.state.rglob("*")]
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
        for name in (
            "token.key",
            "credentials.key",
            "node.key",
            "broker/agent.creds",
            "broker/nats.conf",
            *(f"trust/{name}" for name in FILES),
            "controller.url",
        ):
            assert modes[up.state / name] == 0o600
        assert (up.state / "index.sqlite-wal") in modes
        assert {str(path) for path, mode in modes.items() if mode & 0o077} == set()
        assert modes[up.state] == modes[up.state / "broker"] == 0o700
