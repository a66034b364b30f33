import base64
import hashlib
import hmac
import json
import re
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.controller import auth
from towline.controller.auth import ADMIN_ONLY, Authenticator, Caller, create_token, load_key
from towline.errors import Forbidden, InvalidConfiguration, Unauthorized

KEY = b"a key of thirty-two bytes or more"
OTHER_KEY = b"another key of thirty-two bytes +"
HOUR = 3600.0
# Far away and always the same: parameters are made of it, and their ids must not depend on time.
FAR = 9 * 10**9

DOMAINS = [
    *("agent", "certificate", "cron", "docker", "file", "job", "network"),
    *("node", "ntp", "package", "registry", "service", "sysctl", "timezone", "user"),
]
READS = {f"{domain}:read" for domain in (*DOMAINS, "health", "log", "process")}
WRITES = {f"{domain}:write" for domain in DOMAINS}


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator(KEY)


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def signed(
    claims: object,
    *,
    key: bytes = KEY,
    header: object = None,
    digest: Callable[[], Any] = hashlib.sha256,
) -> str:
    """Return a token made by hand (RFC 7515, section 3.1)."""
    head = header if header is not None else {"alg": "HS256", "typ": "JWT"}
    signed_part = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(claims).encode())}"
    signature = hmac.new(key, signed_part.encode(), digest).digest()
    return f"{signed_part}.{encoded(signature)}"


def good_claims(**claims: object) -> dict[str, object]:
    return {"sub": "ci", "roles": ["read"], "exp": FAR, **claims}


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
    caller = authenticator.authenticate(
        create_token(KEY, subject="ci", roles=["read", "write"], lifetime=HOUR)
    )
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
    authenticator = Authenticator(KEY, {"deployer": ["docker:read", "docker:write"]})
    token = create_token(KEY, subject="ci", roles=roles, lifetime=HOUR)
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
        KEY, permissions=["disk:read", "disk:write", "disk:execute", "audit:read", "docker:read"]
    )
    further = {"disk:read", "disk:write", "disk:execute"}
    for role, added in [
        ("read", {"disk:read"}),
        ("write", {"disk:read", "disk:write"}),
        ("admin", further),
    ]:
        token = create_token(KEY, subject="ci", roles=[role], lifetime=HOUR)
        permissions = authenticator.authenticate(token).permissions
        assert permissions == auth.ROLES[role] | added
        assert further.isdisjoint(auth.ROLES[role])


@pytest.mark.parametrize("audience", ["fleet", ["fleet"], ["elsewhere", "other"], "other"])
def test_a_token_for_an_audience_that_is_listed_is_taken(audience: object) -> None:
    authenticator = Authenticator(KEY, audiences=["fleet", "other"])
    assert authenticator.authenticate(signed(good_claims(aud=audience))).subject == "ci"


@pytest.mark.parametrize("audience", ["fleets", "", [], ["elsewhere"], 7, {"fleet": 1}, [7]])
@pytest.mark.parametrize("listed", [[], ["fleet"]])
def test_a_token_for_other_audiences_is_refused(audience: object, listed: list[str]) -> None:
    authenticator = Authenticator(KEY, audiences=listed)
    refused = refusal(authenticator, signed(good_claims(aud=audience)))
    assert refused.error.startswith("The token is not valid: ")
    if isinstance(audience, str):
        assert "token-audiences" in refused.error


def test_a_token_without_an_audience_is_taken_whatever_is_listed() -> None:
    for listed in ([], ["fleet"]):
        authenticator = Authenticator(KEY, audiences=listed)
        assert authenticator.authenticate(signed(good_claims())).subject == "ci"


@pytest.mark.parametrize("permissions", [["node:read"], ["node:read", "made:up"], []])
def test_permissions_of_the_token_replace_those_of_its_roles(
    authenticator: Authenticator, permissions: list[str]
) -> None:
    token = create_token(KEY, subject="ci", roles=["admin"], permissions=permissions, lifetime=HOUR)
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
            Authenticator(KEY, {"web": ["job:read", text]})


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
    expired = create_token(KEY, subject="ci", roles=["admin"], lifetime=-1)
    assert refusal(authenticator, expired).error == "The token has expired."


def test_a_token_expires_though_it_was_accepted_before(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = create_token(KEY, subject="ci", roles=["admin"], lifetime=HOUR)
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
        ({"sub": "ci"}, 'missing the "exp" claim'),
        ({"exp": 9e10}, 'missing the "sub" claim'),
        (good_claims(exp=None), 'missing the "exp" claim'),
        (good_claims(exp="tomorrow"), "exp"),
        (good_claims(exp=str(9 * 10**10)), "$.exp"),
        (good_claims(exp=float("inf")), "exp"),
        (good_claims(exp=10**400), "exp"),
        (good_claims(sub=7), "Subject"),
        (good_claims(roles="admin"), "$.roles"),
        (good_claims(roles=[7]), "$.roles[0]"),
        (good_claims(permissions="docker:write"), "$.permissions"),
        (good_claims(permissions={"docker:write": True}), "$.permissions"),
        ([], "object"),
        ("admin", "object"),
    ],
)
def test_claims_that_are_missing_or_of_another_type_are_named(
    authenticator: Authenticator, claims: object, reason: str
) -> None:
    refused = refusal(authenticator, signed(claims))
    assert refused.error.startswith("The token is not valid: ")
    assert reason in refused.error


@pytest.mark.parametrize(
    "token",
    [
        signed(good_claims(), key=OTHER_KEY),
        signed(good_claims(), key=b""),
        signed(good_claims(), header={"alg": "HS384"}, digest=hashlib.sha384),
        signed(good_claims(), header={"alg": "HS512"}, digest=hashlib.sha512),
        signed(good_claims(), header={"alg": "HS512"}),
        signed(good_claims(), header={"alg": "RS256"}),
        signed(good_claims(), header={"alg": "none"}),
        signed(good_claims(), header={"alg": "None"}),
        signed(good_claims(), header={"alg": ["HS256"]}),
        signed(good_claims(), header={"typ": "JWT"}),
        signed(good_claims(), header={"alg": "HS256", "crit": ["exp"]}),
        signed(good_claims(), header={"alg": "HS256", "b64": False}),
        signed(good_claims(), header=["HS256"]),
        signed(good_claims(), header={"alg": "none"}).rpartition(".")[0] + ".",
        signed(good_claims()).rpartition(".")[0] + ".",
        signed(good_claims()).rpartition(".")[0],
        signed(good_claims()) + "A",
        signed(good_claims()) + ".",
        " " + signed(good_claims()),
        signed(good_claims()).replace(".", ". "),
        encoded(b"[" * 6000) + ".e30.",
        signed(good_claims(roles=["read"]))[:40],
        "Bearer " + signed(good_claims()),
        "admin",
        "...",
        "\0",
        "é",
        "\ud800",
    ],
)
def test_what_is_not_signed_by_us_is_refused_in_one_line(
    authenticator: Authenticator, token: str
) -> None:
    refused = refusal(authenticator, token)
    assert refused.error.startswith("The token is not valid: ")
    assert str(refused).isprintable()


GOOD = signed({"sub": "ci", "roles": ["read"], "exp": FAR})


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
def test_an_edited_token_is_refused(place: int, character: str) -> None:
    edited = GOOD[:place] + character + GOOD[place + 1 :]
    authenticator = Authenticator(KEY)
    authenticator.authenticate(GOOD)
    # The last character of 32 bytes in base64 carries two bits that mean nothing.
    same_signature = place == len(GOOD) - 1 and decoded(edited) == decoded(GOOD)
    if edited != GOOD and not same_signature:
        refusal(authenticator, edited)


def decoded(token: str) -> bytes | None:
    try:
        return base64.urlsafe_b64decode(token.rpartition(".")[2] + "=")
    except ValueError:
        return None


def test_more_roles_cannot_be_written_into_a_token(authenticator: Authenticator) -> None:
    head, _, signature = GOOD.split(".")
    claims = encoded(json.dumps({"sub": "ci", "roles": ["admin"], "exp": FAR}).encode())
    refusal(authenticator, f"{head}.{claims}.{signature}")


@given(st.text() | st.text("eyJ.-_09Az="))
def test_any_text_is_refused_and_never_breaks_anything(text: str) -> None:
    with pytest.raises(Unauthorized):
        Authenticator(KEY).authenticate(text)


@pytest.mark.parametrize("size", [8193, 1_000_000])
def test_an_oversize_token_is_refused_unread(authenticator: Authenticator, size: int) -> None:
    assert "longer than 8192" in refusal(authenticator, "a" * size).error


def test_a_large_token_is_good_while_it_is_not_oversize(authenticator: Authenticator) -> None:
    token = signed(good_claims(permissions=["docker:write", "x" * 5000]))
    assert "docker:write" in authenticator.authenticate(token).permissions


def test_more_tokens_than_are_remembered_are_all_good() -> None:
    authenticator = Authenticator(KEY, remembered=3)
    tokens = [signed(good_claims(sub=str(number))) for number in range(8)]
    for token in tokens * 2:
        authenticator.authenticate(token)
    assert [authenticator.authenticate(token).subject for token in tokens] == list("01234567")
    assert len(authenticator._known) <= 3


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "token.key"
    key = load_key(path, create=True)
    assert re.fullmatch(rb"[0-9a-f]{64}", key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_key(path, create=True) == load_key(path, create=False) == key
    assert load_key(tmp_path / "other.key", create=True) != key


def test_a_key_that_many_make_at_once_is_one_key(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_key(path, create=True), range(8)))
    assert keys == {load_key(path, create=False)}
    assert [found.name for found in tmp_path.iterdir()] == ["token.key"]


def test_a_key_that_was_given_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xff" * 32 + b"\n")
    path.chmod(0o600)
    assert load_key(path, create=True) == b"\xff" * 32


@pytest.mark.parametrize("create", [True, False])
def test_a_key_too_short_for_its_algorithm_is_refused(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "key"
    path.write_text("k" * 31)
    path.chmod(0o600)
    with pytest.raises(InvalidConfiguration, match=r"too short.*32 bytes") as refused:
        load_key(path, create=create)
    assert str(path) in refused.value.error


def test_a_key_that_is_missing_is_not_made_unasked(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(InvalidConfiguration, match="can't be read") as refused:
        load_key(path, create=False)
    assert str(path) in refused.value.error
    assert not path.exists()


def test_a_key_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "key"
    with pytest.raises(InvalidConfiguration, match="can't be read") as refused:
        load_key(path, create=True)
    assert str(path) in refused.value.error
