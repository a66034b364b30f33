"""Tokens on the command line: made with a controller's key, and read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.testing.command import failed
from tests.unit.cli.conftest import Here
from towline.controller.token_keys import TokenKeys

SEED = b"k" * 32
KEY = b"k" * 32
CREATE = ["token", "create", "--subject", "alice"]


@pytest.fixture
def key(state: Path) -> bytes:
    """The key that a controller has left in the state directory."""
    state.mkdir()
    (state / "token.key").write_text(f"{SEED.hex()}\n")
    (state / "token.key").chmod(0o600)
    return SEED


def claims(text: str, seed: bytes = SEED) -> dict[str, Any]:
    """Read a token that was printed alone on its line."""
    assert re.fullmatch(r"\S+\n", text)
    (key,) = TokenKeys([seed]).public.values()
    read: dict[str, Any] = jwt.decode(text.strip(), key, algorithms=["EdDSA"])
    return read


def test_a_new_token_is_all_that_is_printed_and_says_what_was_asked_for(
    towline: Here, key: bytes
) -> None:
    done = towline(*CREATE, "--role", "read", "--role", "write")
    said = claims(done.stdout)
    assert (done.status, len(done.stderr.splitlines())) == (0, 1)
    assert f"towline token revoke {said['jti']}" in done.stderr
    assert (said["sub"], said["roles"], said["exp"] - said["iat"]) == (
        "alice",
        ["read", "write"],
        90 * 86400,
    )
    assert "permissions" not in said

    done = towline("token", "create", "--subject", "bob", "--role", "admin", "--expires", "2h")
    said = claims(done.stdout)
    assert said["exp"] - said["iat"] == 7200


@pytest.mark.parametrize("made", [True, False], ids=["an empty directory", "no directory"])
def test_where_no_controller_has_its_key_no_token_is_made_and_no_key_either(
    towline: Here, state: Path, made: bool
) -> None:
    if made:
        state.mkdir()
    said = failed(towline(*CREATE, "--role", "read"))
    assert repr(str(state)) in said
    assert "--state" in said
    assert "--token-key" in said
    assert state.exists() is made
    assert not (state / "token.key").exists()


def test_a_role_that_is_not_known_is_refused_and_one_from_the_file_is_known(
    towline: Here, key: bytes, tmp_path: Path
) -> None:
    arguments = [*CREATE, "--role", "deployer"]
    said = failed(towline(*arguments))
    assert "'deployer'" in said
    assert "admin, read, write" in said

    (tmp_path / "towline.toml").write_text('[roles]\ndeployer = ["docker:write"]')
    done = towline(*arguments, "--config", tmp_path / "towline.toml")
    assert claims(done.stdout)["roles"] == ["deployer"]


@pytest.mark.parametrize("permission", ["docker:wirte", "docker", "", "Docker:write", "file:write"])
def test_a_permission_that_nothing_asks_for_is_refused_with_those_that_there_are(
    towline: Here, key: bytes, permission: str
) -> None:
    known = ["--permission", "job:read"]
    said = failed(towline(*CREATE, "--role", "read", *known, f"--permission={permission}"))
    assert f"There is no permission {permission!r}." in said
    assert (
        "agent:read, agent:write, audit:read, docker:read, docker:write, health:read, job:admin, "
        "job:read, job:write, node:read, registry:read, registry:write, set:read, set:write, "
        "token:read, token:write, trust:read"
    ) in said


def test_permissions_of_operations_of_endpoints_and_of_configured_roles_are_known(
    towline: Here, key: bytes, tmp_path: Path
) -> None:
    (tmp_path / "towline.toml").write_text('[roles]\nguard = ["gate:open"]')
    wanted = ["docker:write", "registry:write", "gate:open"]
    flags = [f"--permission={permission}" for permission in wanted]
    arguments = [*CREATE, "--role", "read", "--config", str(tmp_path / "towline.toml"), *flags]
    assert claims(towline(*arguments).stdout)["permissions"] == wanted


def test_a_token_is_signed_with_the_key_that_is_named(
    towline: Here, state: Path, tmp_path: Path
) -> None:
    arguments = [*CREATE, "--role", "read", "--token-key", str(tmp_path / "key")]
    assert repr(str(tmp_path / "key")) in failed(towline(*arguments))
    (tmp_path / "key").write_text("short")
    assert "64 hex digits" in failed(towline(*arguments))
    (tmp_path / "key").write_text("6a" * 32 + "\n")
    assert claims(towline(*arguments).stdout, b"j" * 32)["sub"] == "alice"
    assert not state.exists()


def test_no_token_is_made_for_more_than_a_year(towline: Here, key: bytes) -> None:
    said = failed(towline(*CREATE, "--role", "read", "--expires=366d"))
    assert "365 days at most" in said
    made = claims(towline(*CREATE, "--role", "read", "--expires=365d").stdout)
    assert made["exp"] - made["iat"] == 365 * 86400


@pytest.mark.parametrize("expires", ["", "soon", "-1h", "1 fortnight", "11000d"])
def test_an_expiry_that_is_none_is_refused(towline: Here, expires: str) -> None:
    assert repr(expires) in failed(towline(*CREATE, "--role", "read", f"--expires={expires}"))


def test_a_token_is_shown_whoever_signed_it_and_though_it_has_expired(towline: Here) -> None:
    body = {"sub": "alice", "roles": ["read"], "iat": 0, "exp": 86400}
    shown = {**body, "iat": "1970-01-01T00:00:00.000Z", "exp": "1970-01-02T00:00:00.000Z"}
    for text in (jwt.encode(body, KEY), jwt.encode(body, b"j" * 64, algorithm="HS512")):
        assert json.loads(towline("token", "show", text).stdout) == shown
        assert json.loads(towline("token", "show", stdin=f"{text}\n").stdout) == shown
        assert json.loads(towline("token", "show", "-", stdin=text).stdout) == shown


@pytest.mark.parametrize("expires", [10**10, 10**20, -(10**20), "never", None, 1.5])
def test_a_token_is_shown_whatever_stands_in_it(towline: Here, expires: object) -> None:
    text = jwt.encode({"sub": "alice", "exp": expires}, KEY)
    assert json.loads(towline("token", "show", text).stdout)["sub"] == "alice"


@pytest.mark.parametrize(
    "text", ["", "x", "a.b.c", "e30.e30", "e30.W10.e30", "\u00e9.\u00e9.\u00e9"]
)
def test_what_is_no_token_is_not_shown(towline: Here, text: str) -> None:
    assert "not a token" in failed(towline("token", "show", stdin=text))
