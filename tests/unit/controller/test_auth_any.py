"""Tokens of whatever kind: who they stand for, or `Unauthorized`, and nothing else."""

import time
from typing import Any

import jwt
from hypothesis import assume, example, given
from hypothesis import strategies as st

from towline.controller.auth import Authenticator, Caller
from towline.controller.token_keys import ClientKey, TokenKeys
from towline.errors import Unauthorized

KEYS = TokenKeys([bytes(32)])
SECRET = b"k" * 32
AUTHENTICATOR = Authenticator(
    KEYS, audiences=["fleet"], clients=[ClientKey("portal", SECRET, ["read"], 3600.0)], remembered=1
)
LATER = int(time.time()) + 600
NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
MOMENTS = JSON | st.integers(LATER - 1000, LATER + 1000) | st.sampled_from([1e308, float("inf")])
CLAIMS = st.fixed_dictionaries(
    {"sub": NAMES | JSON, "exp": st.just(LATER) | MOMENTS},
    optional={
        "iat": MOMENTS,
        "nbf": MOMENTS,
        "jti": NAMES | JSON,
        "aud": st.just("fleet") | JSON,
        "iss": NAMES,
        "roles": st.lists(st.sampled_from(["admin", "read", "write"]), max_size=2) | JSON,
        "permissions": st.lists(st.text(max_size=20) | st.just("docker:write@web-*")) | JSON,
    },
)


def caller(token: str) -> Caller | None:
    """Return who a token stands for; None for nobody. No other exception passes."""
    try:
        found = AUTHENTICATOR.authenticate(token)
    except Unauthorized as error:
        words = f"{error.error}{error.details}"
    else:
        assert found.subject.encode()
        assert time.time() < found.expires < time.time() + 366 * 86400
        return found
    assert len(token) < 20 or token not in words
    return None


@given(
    NAMES,
    st.lists(st.sampled_from(["admin", "read", "write"]), max_size=3),
    st.none() | st.lists(st.sampled_from(["docker:write", "docker:read@web-*"])),
    st.floats(1, 86400.0),
)
def test_a_token_stands_for_whom_it_was_made(
    subject: str, roles: list[str], permissions: list[str] | None, lifetime: float
) -> None:
    assume(lifetime > 30)
    made = KEYS.create(subject=subject, roles=roles, permissions=permissions, lifetime=lifetime)
    found = caller(made)
    assert found is not None
    assert (found.subject, found.roles) == (subject, roles)
    expected = AUTHENTICATOR.permissions_of(roles) if permissions is None else {*permissions}
    assert found.permissions == expected


@given(st.text() | st.text("eyJhbGciOi.-_=", max_size=200))
@example("eyJhbGciOiJub25lIn0.e30.")
def test_any_text_stands_for_nobody(text: str) -> None:
    assert caller(text) is None


@given(CLAIMS)
@example({"sub": "a", "exp": float("inf")})
@example({"sub": "a", "exp": LATER, "jti": "j", "iat": float("nan")})
@example({"sub": "a", "exp": LATER, "jti": "j", "nbf": float("inf")})
@example({"sub": "\ud800", "exp": LATER, "jti": "j"})
def test_what_the_fleet_s_own_key_has_signed_is_a_caller_or_nobody(claims: dict[str, Any]) -> None:
    caller(KEYS.sign(claims))


@given(CLAIMS)
@example({"sub": "a", "exp": float("inf")})
@example({"sub": "a", "exp": LATER, "iat": 10**400})
@example({"sub": "a", "exp": LATER, "iat": LATER - 600, "roles": ["admin"]})
def test_what_a_client_s_key_has_signed_is_no_more_than_it_may(claims: dict[str, Any]) -> None:
    found = caller(jwt.encode(claims, SECRET, algorithm="HS256"))
    if found is not None:
        assert found.subject.startswith("portal/")
        plain = {each.partition("@")[0] for each in found.permissions}
        assert plain <= AUTHENTICATOR.permissions_of(["read"])


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), JSON))
@example({"kid": ["a"]})
@example({"kid": {}, "alg": "HS256"})
def test_any_header_stands_for_nobody_without_the_key(header: dict[str, Any]) -> None:
    claims = {"sub": "a", "exp": LATER, "jti": "j", "roles": ["admin"]}
    named = {**header, "kid": str(header["kid"])} if "kid" in header else header
    named.pop("alg", None)
    named.pop("b64", None)
    assert caller(jwt.encode(claims, b"x" * 32, algorithm="HS256", headers=named)) is None


@given(st.data())
def test_a_token_of_which_any_character_is_another_stands_for_nobody(data: st.DataObject) -> None:
    token = KEYS.create(subject="ann", roles=["read"], lifetime=600)
    place = data.draw(st.integers(0, 250))
    other = data.draw(st.characters())
    # The last character has bits that mean nothing.
    assume(place < len(token) - 1 and other != token[place])
    assert caller(f"{token[:place]}{other}{token[place + 1 :]}") is None
