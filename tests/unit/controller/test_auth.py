import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from towline.controller import auth
from towline.controller.auth import ADMIN_ONLY, Authenticator, Caller
from towline.controller.token_keys import ClientKey, TokenKeys
from towline.errors import Forbidden, InvalidConfiguration, Unauthorized

SEED, OTHER_SEED = b"k" * 32, b"j" * 32
KEYS = TokenKeys([SEED])
(KID,) = KEYS.public
SECRET = b"a secret of a client, long enough for it"
HOUR, DAY = 3600.0, 86400.0

DOMAINS = [
    *("agent", "certificate", "cron", "docker", "file", "job", "network"),
    *("node", "ntp", "package", "registry", "service", "set", "sysctl", "timezone", "user"),
]
READS = {f"{domain}:read" for domain in (*DOMAINS, "health", "log", "process")}
WRITES = {f"{domain}:write" for domain in DOMAINS}


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator(KEYS)


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def signed(claims: object, *, seed: bytes = SEED, header: object = None) -> str:
    """Return a token made by hand (RFC 7515, section 3.1; RFC 8037)."""
    head = {"alg": "EdDSA", "typ": "JWT", "kid": KID} if header is None else header
    signed_part = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(claims).encode())}"
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(signed_part.encode())
    return f"{signed_part}.{encoded(signature)}"


def by_secret(
    claims: object,
    *,
    key: bytes = SECRET,
    header: object = None,
    digest: Callable[[], Any] = hashlib.sha256,
) -> str:
    """Return a token that is signed with a secret."""
    head = {"alg": "HS256", "typ": "JWT"} if header is None else header
    signed_part = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(claims).encode())}"
    signature = hmac.new(key, signed_part.encode(), digest).digest()
    return f"{signed_part}.{encoded(signature)}"


def good_claims(**claims: object) -> dict[str, object]:
    now = time.time()
    usual = {"sub": "ci", "jti": "t1", "roles": ["read"], "iat": now, "exp": now + HOUR}
    return {**usual, **claims}


def create_token(*, roles: list[str], permissions: list[str] | None = None) -> str:
    return KEYS.create(subject="ci", roles=roles, permissions=permissions, lifetime=HOUR)


def refusal(authenticator: Authenticator, token: str | None) -> Unauthorized:
    with pytest.raises(Unauthorized) as refused:
        authenticator.authenticate(token)
    assert refused.value.code == 401
    if token:
        assert token not in str(refused.value)
    return refused.value


def test_a_token_says_who_calls_with_which_roles_and_until_when(
    authenticator: Authenticator,
) -> None:
    before = int(time.time())
    caller = authenticator.authenticate(create_token(roles=["read", "write"]))
    assert (caller.subject, caller.roles) == ("ci", ["read", "write"])
    assert before + HOUR <= caller.expires <= time.time() + HOUR


def test_a_token_made_elsewhere_with_the_same_key_is_as_good(authenticator: Authenticator) -> None:
    caller = authenticator.authenticate(signed(good_claims(iss="elsewhere", unknown=[1])))
    assert caller.permissions == READS


@pytest.mark.parametrize(
    ("roles", "permissions"),
    [
        (["read"], READS),
        (["write"], (READS | WRITES) - ADMIN_ONLY),
        (["admin"], READS | WRITES | ADMIN_ONLY),
        (["deployer"], {"docker:read", "docker:write"}),
        (["read", "deployer"], READS | {"docker:write"}),
        (["unknown"], set()),
        ([], set()),
    ],
)
def test_permissions_come_from_roles(roles: list[str], permissions: set[str]) -> None:
    authenticator = Authenticator(KEYS, {"deployer": ["docker:read", "docker:write"]})
    token = create_token(roles=roles)
    assert authenticator.authenticate(token).permissions == permissions


def test_only_admins_execute_and_rule_over_nodes_registries_and_the_jobs_of_others() -> None:
    assert {
        *("docker:execute", "command:execute", "power:execute", "process:execute"),
        *("agent:write", "audit:read", "registry:write", "job:admin"),
    } == ADMIN_ONLY
    for role in ("read", "write"):
        assert not auth.ROLES[role] & ADMIN_ONLY


def test_roles_hold_what_operations_of_further_domains_ask_for() -> None:
    authenticator = Authenticator(
        KEYS, permissions=["disk:read", "disk:write", "disk:execute", "audit:read", "docker:read"]
    )
    further = {"disk:read", "disk:write", "disk:execute"}
    for role, added in [
        ("read", {"disk:read"}),
        ("write", {"disk:read", "disk:write"}),
        ("admin", further),
    ]:
        token = create_token(roles=[role])
        permissions = authenticator.authenticate(token).permissions
        assert permissions == auth.ROLES[role] | added
        assert further.isdisjoint(auth.ROLES[role])


@pytest.mark.parametrize("audience", ["fleet", ["fleet"], ["elsewhere", "other"], "other"])
def test_a_token_for_an_audience_that_is_listed_is_taken(audience: object) -> None:
    authenticator = Authenticator(KEYS, audiences=["fleet", "other"])
    assert authenticator.authenticate(signed(good_claims(aud=audience))).subject == "ci"


@pytest.mark.parametrize("audience", ["fleets", "", [], ["elsewhere"], 7, {"fleet": 1}, [7]])
@pytest.mark.parametrize("listed", [[], ["fleet"]])
def test_a_token_for_other_audiences_is_refused(audience: object, listed: list[str]) -> None:
    authenticator = Authenticator(KEYS, audiences=listed)
    refused = refusal(authenticator, signed(good_claims(aud=audience)))
    assert refused.error.startswith("The token is not valid: ")
    if isinstance(audience, str):
        assert "token-audiences" in refused.error


def test_a_token_without_an_audience_is_taken_whatever_is_listed() -> None:
    for listed in ([], ["fleet"]):
        authenticator = Authenticator(KEYS, audiences=listed)
        assert authenticator.authenticate(signed(good_claims())).subject == "ci"


@pytest.mark.parametrize("permissions", [["node:read"], ["node:read", "made:up"], []])
def test_permissions_of_the_token_replace_those_of_its_roles(
    authenticator: Authenticator, permissions: list[str]
) -> None:
    token = create_token(roles=["admin"], permissions=permissions)
    assert authenticator.authenticate(token).permissions == set(permissions)


def test_a_missing_permission_is_named_with_those_that_are_there() -> None:
    caller = Caller("ci", ["read"], frozenset({"node:read", "job:read"}), 0.0)
    caller.require("node:read")
    with pytest.raises(Forbidden) as refused:
        caller.require("docker:write")
    assert refused.value.code == 403
    assert "'docker:write'" in refused.value.error
    assert "'ci' has: job:read, node:read" in refused.value.details


def test_tokens_trust_and_the_audit_are_for_admins_alone_whatever_comes() -> None:
    alone = {"token:read", "token:write", "trust:write", "audit:read", "audit:write"}
    for role, held in auth.roles_with(alone | {"disk:read"}).items():
        assert held & alone == (alone if role == "admin" else set())
        assert "disk:read" in held


def test_a_permission_of_a_token_or_a_role_that_is_not_narrowed_well_is_refused(
    authenticator: Authenticator,
) -> None:
    for text in ("docker:write@", "docker:write@group:web,web-*", "docker@web-*"):
        said = refusal(authenticator, signed(good_claims(permissions=[text]))).error
        assert repr(text) in said
        with pytest.raises(InvalidConfiguration, match="The role 'web' is not valid"):
            Authenticator(KEYS, {"web": ["job:read", text]})


def test_a_permission_that_is_narrowed_is_there_but_not_wholly(
    authenticator: Authenticator,
) -> None:
    token = signed(good_claims(permissions=["docker:write@group:web", "job:read"]))
    caller = authenticator.authenticate(token)
    caller.require("docker:write")
    caller.require_whole("job:read")
    assert caller.bounds("job:read").everywhere
    with pytest.raises(Forbidden, match="is only for group:web"):
        caller.require_whole("docker:write")
    with pytest.raises(Forbidden, match="lacks the permission 'node:read'"):
        caller.bounds("node:read")


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_token_the_refusal_says_how_to_send_one(
    authenticator: Authenticator, token: str | None
) -> None:
    refused = refusal(authenticator, token)
    assert refused.error.startswith("No token was sent: send ")
    assert "Authorization: Bearer" in refused.details
    assert "X-API-Key" in refused.details


def test_a_token_that_has_expired_is_refused(authenticator: Authenticator) -> None:
    expired = signed(good_claims(exp=time.time() - 1))
    assert refusal(authenticator, expired).error == "The token has expired."


def test_a_token_expires_though_it_was_accepted_before(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = create_token(roles=["admin"])
    authenticator.authenticate(token)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + HOUR + 1)
    assert refusal(authenticator, token).error == "The token has expired."


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_is_good_though_the_clock_that_made_it_is_half_a_minute_ahead(
    authenticator: Authenticator, claim: str
) -> None:
    token = signed(good_claims(**{claim: time.time() + 30}))
    assert authenticator.authenticate(token).subject == "ci"


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_of_tomorrow_is_refused(authenticator: Authenticator, claim: str) -> None:
    token = signed(good_claims(**{claim: time.time() + 86400}))
    assert "not yet valid" in refusal(authenticator, token).error


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"sub": "ci", "jti": "a"}, 'missing the "exp" claim'),
        ({"exp": 9e10, "jti": "a"}, 'missing the "sub" claim'),
        (lambda: good_claims(jti=None), 'missing the "jti" claim'),
        (lambda: good_claims(jti=7), "JWT ID"),
        (lambda: good_claims(jti="a b"), "$.jti"),
        (lambda: good_claims(exp=None), 'missing the "exp" claim'),
        (lambda: good_claims(exp="tomorrow"), "exp"),
        (lambda: good_claims(exp=str(9 * 10**10)), "$.exp"),
        (lambda: good_claims(exp=float("inf")), "exp"),
        (lambda: good_claims(exp=10**400), "exp"),
        (lambda: good_claims(sub=7), "Subject"),
        (lambda: good_claims(roles="admin"), "$.roles"),
        (lambda: good_claims(roles=[7]), "$.roles[0]"),
        (lambda: good_claims(permissions="docker:write"), "$.permissions"),
        (lambda: good_claims(permissions={"docker:write": True}), "$.permissions"),
        ([], "object"),
        ("admin", "object"),
    ],
)
def test_claims_that_are_missing_or_of_another_type_are_named(
    authenticator: Authenticator, claims: object, reason: str
) -> None:
    refused = refusal(authenticator, signed(claims() if callable(claims) else claims))
    assert refused.error.startswith("The token is not valid: ")
    assert reason in refused.error


NOT_OURS: dict[str, Callable[[], str]] = {
    "another key": lambda: signed(good_claims(), seed=OTHER_SEED),
    "another kid": lambda: signed(good_claims(), header={"alg": "EdDSA", "kid": "x"}),
    "no kid": lambda: signed(good_claims(), header={"alg": "EdDSA"}),
    "kid a list": lambda: signed(good_claims(), header={"alg": "EdDSA", "kid": [KID]}),
    "a key in the header": lambda: signed(
        good_claims(), header={"alg": "EdDSA", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}}
    ),
    "ES256": lambda: signed(good_claims(), header={"alg": "ES256", "kid": KID}),
    "HS256 of nobody": lambda: by_secret(good_claims()),
    "HS256 by the public key": lambda: by_secret(
        good_claims(),
        key=KEYS.public[KID].public_bytes_raw(),
        header={"alg": "HS256", "kid": KID},
    ),
    "HS384": lambda: by_secret(good_claims(), header={"alg": "HS384"}, digest=hashlib.sha384),
    "RS256": lambda: signed(good_claims(), header={"alg": "RS256", "kid": KID}),
    "none": lambda: signed(good_claims(), header={"alg": "none", "kid": KID}),
    "None": lambda: signed(good_claims(), header={"alg": "None", "kid": KID}),
    "alg a list": lambda: signed(good_claims(), header={"alg": ["EdDSA"], "kid": KID}),
    "no alg": lambda: signed(good_claims(), header={"typ": "JWT", "kid": KID}),
    "crit": lambda: signed(good_claims(), header={"alg": "EdDSA", "kid": KID, "crit": ["exp"]}),
    "b64": lambda: signed(good_claims(), header={"alg": "EdDSA", "kid": KID, "b64": False}),
    "a header that is a list": lambda: signed(good_claims(), header=["EdDSA"]),
    "unsigned": lambda: signed(good_claims(), header={"alg": "none"}).rpartition(".")[0] + ".",
    "an empty signature": lambda: signed(good_claims()).rpartition(".")[0] + ".",
    "two parts": lambda: signed(good_claims()).rpartition(".")[0],
    "more behind it": lambda: signed(good_claims()) + "AAAA",
    "four parts": lambda: signed(good_claims()) + ".",
    "a space before it": lambda: " " + signed(good_claims()),
    "a space in it": lambda: signed(good_claims()).replace(".", ". "),
    "brackets": lambda: encoded(b"[" * 6000) + ".e30.",
    "a part of it": lambda: signed(good_claims(roles=["read"]))[:40],
    "Bearer": lambda: "Bearer " + signed(good_claims()),
    "a word": lambda: "admin",
    "dots": lambda: "...",
    "nothing": lambda: "\0",
    "an accent": lambda: "\u00e9",
    "half a character": lambda: "\ud800",
}


@pytest.mark.parametrize("kind", NOT_OURS)
def test_what_is_not_signed_by_us_is_refused_in_one_line(
    authenticator: Authenticator, kind: str
) -> None:
    refused = refusal(authenticator, NOT_OURS[kind]())
    assert refused.error.startswith("The token is not valid: ")
    assert str(refused).isprintable()


GOOD = signed({"sub": "ci", "jti": "t1", "roles": ["read"], "exp": int(time.time()) + 36000})


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
def test_an_edited_token_is_refused(place: int, character: str) -> None:
    edited = GOOD[:place] + character + GOOD[place + 1 :]
    authenticator = Authenticator(KEYS)
    authenticator.authenticate(GOOD)
    # The last character of 64 bytes in base64 carries four bits that mean nothing.
    same_signature = place == len(GOOD) - 1 and decoded(edited) == decoded(GOOD)
    if edited != GOOD and not same_signature:
        refusal(authenticator, edited)


def decoded(token: str) -> bytes | None:
    try:
        return base64.urlsafe_b64decode(token.rpartition(".")[2] + "==")
    except ValueError:
        return None


def test_more_roles_cannot_be_written_into_a_token(authenticator: Authenticator) -> None:
    head, _, signature = GOOD.split(".")
    claims = encoded(json.dumps(good_claims(roles=["admin"])).encode())
    refusal(authenticator, f"{head}.{claims}.{signature}")


@given(st.text() | st.text("eyJ.-_09Az="))
def test_any_text_is_refused_and_never_breaks_anything(text: str) -> None:
    with pytest.raises(Unauthorized):
        Authenticator(KEYS).authenticate(text)


@pytest.mark.parametrize("size", [8193, 1_000_000])
def test_an_oversize_token_is_refused_unread(authenticator: Authenticator, size: int) -> None:
    assert "longer than 8192" in refusal(authenticator, "a" * size).error


def test_a_large_token_is_good_while_it_is_not_oversize(authenticator: Authenticator) -> None:
    token = signed(good_claims(permissions=["docker:write", "x" * 5000]))
    assert "docker:write" in authenticator.authenticate(token).permissions


def test_more_tokens_than_are_remembered_are_all_good() -> None:
    authenticator = Authenticator(KEYS, remembered=3)
    tokens = [signed(good_claims(sub=str(number))) for number in range(8)]
    for token in tokens * 2:
        authenticator.authenticate(token)
    assert [authenticator.authenticate(token).subject for token in tokens] == list("01234567")
    assert len(authenticator._known) <= 3


@pytest.mark.parametrize(
    "claims",
    [
        lambda now: {"exp": now + 366 * DAY},
        lambda now: {"exp": now + 36525 * DAY},
        lambda now: {"exp": 1e308},
        lambda now: {"exp": now + 300 * DAY, "iat": now - 100 * DAY},
        lambda now: {"exp": now + HOUR, "iat": -1e308},
    ],
)
def test_a_token_for_more_than_a_year_is_refused_whoever_has_signed_it(
    claims: Callable[[float], dict[str, float]],
) -> None:
    authenticator = Authenticator(KEYS, clients=[ClientKey("web", SECRET, ["read"], 365 * DAY)])
    body = good_claims(**claims(time.time()))
    for token in (signed(body), by_secret(body)):
        assert "longer than 365 days" in refusal(authenticator, token).error


def test_a_token_for_a_year_is_good(authenticator: Authenticator) -> None:
    token = KEYS.create(subject="ci", roles=["read"], lifetime=365 * DAY)
    assert authenticator.authenticate(token).subject == "ci"


def test_a_token_is_refused_from_the_moment_that_it_is_revoked() -> None:
    revoked: set[str] = set()
    authenticator = Authenticator(KEYS, revoked=revoked.__contains__)
    token, other = signed(good_claims()), signed(good_claims(jti="t2"))
    authenticator.authenticate(token)
    revoked.add("t1")
    assert refusal(authenticator, token).error == "The token was revoked."
    assert authenticator.authenticate(other).token_id == "t2"


def test_tokens_of_all_keys_are_good_and_the_first_signs() -> None:
    old, new = TokenKeys([OTHER_SEED]), TokenKeys([SEED, OTHER_SEED])
    authenticator = Authenticator(new)
    for keys in (old, new):
        authenticator.authenticate(keys.create(subject="ci", roles=["read"], lifetime=HOUR))
    refusal(Authenticator(old), new.create(subject="ci", roles=["read"], lifetime=HOUR))


def client_of(*roles: str, longest: float = DAY) -> Authenticator:
    custom = {"web": ["docker:write@group:web", "job:read"]}
    clients = [ClientKey("portal", SECRET, list(roles), longest), OTHER_CLIENT]
    return Authenticator(KEYS, custom, clients=clients)


OTHER_CLIENT = ClientKey("other", b"another secret of thirty-two bytes", ["admin"], DAY)


def test_a_token_by_a_client_s_own_key_has_its_name_before_the_subject() -> None:
    for header in (None, {"alg": "HS256", "kid": "portal"}, {"alg": "HS256", "kid": "unknown"}):
        caller = client_of("read").authenticate(by_secret(good_claims(), header=header))
        assert caller.subject == "portal/ci"
        assert caller.permissions == READS
    refusal(client_of("read"), by_secret(good_claims(), header={"alg": "HS256", "kid": "other"}))


@pytest.mark.parametrize(
    ("limits", "claims", "permissions"),
    [
        (["read"], {"roles": ["admin"]}, READS),
        (["read"], {"permissions": ["docker:write"]}, set()),
        (["web"], {"roles": ["admin"]}, {"docker:write@group:web", "job:read"}),
        (
            ["web"],
            {"permissions": ["docker:write@group:web.dev", "job:read@web-*", "node:read"]},
            {"docker:write@group:web.dev", "job:read@web-*"},
        ),
        (["web"], {"permissions": ["docker:write@web-*"]}, set()),
    ],
)
def test_a_token_by_a_client_s_own_key_may_do_no_more_than_the_key(
    limits: list[str], claims: dict[str, object], permissions: set[str]
) -> None:
    caller = client_of(*limits).authenticate(by_secret(good_claims(**claims)))
    assert caller.permissions == permissions
    assert {grant.permission for grants in caller.narrowed.values() for grant in grants} == {
        each.partition("@")[0] for each in permissions if "@" in each
    }


def test_a_token_by_a_client_s_own_key_is_valid_for_as_long_as_the_key_allows() -> None:
    authenticator = client_of("read", longest=HOUR)
    authenticator.authenticate(by_secret(good_claims(exp=time.time() + HOUR)))
    token = by_secret(good_claims(exp=time.time() + 2 * HOUR))
    assert "too long" in refusal(authenticator, token).error


def test_a_token_by_a_client_s_own_key_says_since_when_it_is_valid() -> None:
    body = good_claims()
    del body["iat"]
    assert 'missing the "iat" claim' in refusal(client_of("read"), by_secret(body)).error
    # One that was made long ago for very long is not taken at its end either.
    late = by_secret(good_claims(iat=time.time() - 300 * DAY))
    assert "too long" in refusal(client_of("read", longest=DAY), late).error


def test_a_subject_that_no_answer_could_name_is_refused() -> None:
    for token in (signed(good_claims(sub="a\ud800")), by_secret(good_claims(sub="a\ud800"))):
        assert "surrogates" in refusal(client_of("read"), token).error


def test_a_client_s_key_with_a_role_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="There is no role 'raed'"):
        client_of("raed")
