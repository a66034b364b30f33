"""Tokens that are not valid, and permissions that are missing."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from tests.system.refusals.requests import IMAGE, PULL_ON_WEB_1, raw
from tests.testing.answers import refused
from tests.testing.cluster import PULL, WEB_1, Cluster
from towline.controller.token_keys import TokenKeys


def claimed(**claims: Any) -> dict[str, Any]:
    """Return the claims of a token that would be good but for what is said."""
    whole = {"sub": "tests", "jti": "a", "roles": ["admin"], "exp": int(time.time()) + 3600}
    return {name: value for name, value in (whole | claims).items() if value is not None}


def signed(fleet: Cluster, *, keys: TokenKeys | None = None, **claims: Any) -> str:
    """Return a token that would be good but for what is said."""
    return (keys or fleet.keys).sign(claimed(**claims))


def with_a_secret(fleet: Cluster, algorithm: str, key: bytes | None = None) -> str:
    """Return a token that is signed with a secret: by default what everybody may know."""
    (kid, public), *_ = fleet.keys.public.items()
    secret = public.public_bytes_raw() if key is None else key
    return jwt.encode(claimed(), secret, algorithm=algorithm, headers={"kid": kid})


def unsigned(fleet: Cluster) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{head}.{signed(fleet).split('.')[1]}."


def edited(fleet: Cluster) -> str:
    head, body, signature = fleet.token("read").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["roles"] = ["admin"]
    text = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{head}.{text}.{signature}"


BAD_TOKENS: dict[str, Callable[[Cluster], str]] = {
    "no token at all": lambda fleet: "towline",
    "two parts": lambda fleet: signed(fleet).rpartition(".")[0],
    "four parts": lambda fleet: signed(fleet) + ".x",
    "unsigned": unsigned,
    "without its signature": lambda fleet: signed(fleet).rpartition(".")[0] + ".",
    "signed by another": lambda fleet: signed(fleet, keys=TokenKeys([b"k" * 32])),
    "signed with HS256 by the public key": lambda fleet: with_a_secret(fleet, "HS256"),
    "signed with HS384": lambda fleet: with_a_secret(fleet, "HS384", b"k" * 64),
    "signed with HS512": lambda fleet: with_a_secret(fleet, "HS512", b"k" * 64),
    "edited": edited,
    "expired": lambda fleet: signed(fleet, exp=int(time.time()) - 1),
    "expired long ago": lambda fleet: signed(fleet, exp=1),
    "for 366 days": lambda fleet: signed(fleet, exp=int(time.time()) + 366 * 86400),
    "for 100 years": lambda fleet: signed(fleet, exp=int(time.time()) + 36525 * 86400),
    "for ever": lambda fleet: signed(fleet, exp=1e308),
    "without jti": lambda fleet: signed(fleet, jti=None),
    "without exp": lambda fleet: signed(fleet, exp=None),
    "without sub": lambda fleet: signed(fleet, sub=None),
    "exp a word": lambda fleet: signed(fleet, exp="never"),
    "exp a list": lambda fleet: signed(fleet, exp=[1]),
    "sub a number": lambda fleet: signed(fleet, sub=7),
    "roles a word": lambda fleet: signed(fleet, roles="admin"),
    "permissions a word": lambda fleet: signed(fleet, permissions="docker:write"),
    "not valid yet": lambda fleet: signed(fleet, nbf=int(time.time()) + 3600),
    "10 kB": lambda fleet: signed(fleet, note="a" * 10_000),
    "10 kB of nothing": lambda fleet: "a" * 10_000,
    "with a space": lambda fleet: signed(fleet).replace(".", " .", 1),
}


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_a_token_that_is_not_ours_and_valid_is_refused(
    fleet: Cluster, kind: str, header: str
) -> None:
    token = BAD_TOKENS[kind](fleet)
    value = f"Bearer {token}" if header == "Authorization" else token
    answer = fleet.anyone.post(PULL_ON_WEB_1, json=IMAGE, headers={header: value})
    said = refused(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "token" in said
    if len(token) > 20:
        assert token[:20] not in said
    if "expired" in kind:
        assert "expired" in said


@pytest.mark.parametrize(
    "header",
    [
        *("X: y", "Authorization:", "Authorization: ", "Authorization: Bearer", "X-API-Key:"),
        *("Authorization: Bearer  ", "authorization: bearer\t", "X-API-Key:  ", "Cookie: token=x"),
        *("Authorization: Basic dGVzdHM6dGVzdHM=", "Authorization: Token x", "X-API-Key: \xff\xfe"),
        "Authorization: Bearer \xff\xfe",
    ],
)
def test_no_token_is_refused(fleet: Cluster, header: str) -> None:
    body = json.dumps(IMAGE)
    sent = (
        f"POST {PULL_ON_WEB_1} HTTP/1.1\r\nHost: x\r\n{header}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    answer = raw(fleet, sent.encode("latin-1"))
    assert "token" in refused(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_who_may_not_call_learns_nothing_of_body_or_target(fleet: Cluster) -> None:
    for path in (PULL_ON_WEB_1, f"/node/nobody/{PULL}"):
        assert "nobody" not in refused(fleet.anyone.post(path, content=b"{"), 401)
        refused(fleet.reader.post(path, content=b"{"), 403)


def test_a_token_without_the_permission_is_refused_by_its_name(fleet: Cluster) -> None:
    assert "docker:write" in refused(fleet.reader.post(PULL_ON_WEB_1, json=IMAGE), 403)


@pytest.mark.parametrize(
    ("roles", "permissions"),
    [([], None), (["nobody"], None), (["admin"], ["docker:read"]), (["write"], ["docker:Write"])],
)
def test_the_permissions_of_a_token_replace_those_of_its_roles(
    fleet: Cluster, roles: list[str], permissions: list[str] | None
) -> None:
    token = signed(fleet, roles=roles, permissions=permissions)
    answer = fleet.anyone.post(
        PULL_ON_WEB_1, json=IMAGE, headers={"Authorization": f"Bearer {token}"}
    )
    assert "docker:write" in refused(answer, 403)


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("/agent", "agent:read"),
        ("/job/550e8400-e29b-41d4-a716-446655440000", "job:read"),
        (f"/node/{WEB_1}/load", "node:read"),
        (f"/node/{WEB_1}/container/docker", "docker:read"),
    ],
)
def test_other_routes_want_a_token_and_their_permission(
    fleet: Cluster, path: str, permission: str
) -> None:
    refused(fleet.anyone.get(path), 401)
    token = fleet.token("admin", permissions=["docker:write"])
    headers = {"Authorization": f"Bearer {token}"}
    assert repr(permission) in refused(fleet.anyone.get(path, headers=headers), 403)
