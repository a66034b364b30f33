"""`towline token`: what it asks the controller for, and what it signs itself."""

import json
from pathlib import Path

import pytest

from tests.testing.cluster import Cluster
from tests.testing.command import CommandLine, failed
from tests.testing.ports import free_port
from towline.cli.outcome import UNREACHABLE

CREATE = ("token", "create", "--subject", "ann", "--role", "read")


@pytest.fixture
def towline(pair: Cluster, tmp_path: Path) -> CommandLine:
    """The command line, with the URL of a controller and an admin's token."""
    return CommandLine(tmp_path, {"TOWLINE_URL": pair.url, "TOWLINE_TOKEN": pair.token("admin")})


def test_a_token_is_made_listed_and_revoked(pair: Cluster, towline: CommandLine) -> None:
    done = towline(*CREATE, "--expires", "1h")
    assert (done.status, done.stderr) == (0, "")
    client = pair.client(done.stdout.strip())
    assert client.get("/agent").status_code == 200
    found = json.loads(towline("token", "show", done.stdout.strip()).stdout)["jti"]
    listed = json.loads(towline("token", "list", "-o", "json").stdout)["tokens"]
    assert (listed[0]["id"], listed[0]["subject"]) == (found, "ann")
    assert done.stdout.strip() not in towline("token", "list").stdout
    assert towline("token", "revoke", found).status == 0
    assert client.get("/agent").status_code == 401


def test_a_token_for_more_than_the_own_is_refused(pair: Cluster, tmp_path: Path) -> None:
    env = {"TOWLINE_URL": pair.url, "TOWLINE_TOKEN": pair.token("write")}
    assert "token:write" in failed(CommandLine(tmp_path, env)(*CREATE))


def test_where_no_controller_is_named_or_answers_a_token_is_signed_here(pair: Cluster) -> None:
    state = pair.directory / "controller"
    done = CommandLine(state)(*CREATE)
    assert pair.client(done.stdout.strip()).get("/agent").status_code == 200
    found = json.loads(CommandLine(state)("token", "show", done.stdout.strip()).stdout)["jti"]
    assert f"towline token revoke {found}" in done.stderr
    # A controller that was named and doesn't answer is an error: it may be the wrong one.
    env = {"TOWLINE_URL": f"http://127.0.0.1:{free_port()}"}
    assert "name its directory, too" in failed(CommandLine(state, env)(*CREATE))
    named = CommandLine(state, env | {"TOWLINE_TOKEN": done.stdout.strip()})(*CREATE)
    assert "does not answer" in failed(named, UNREACHABLE)
