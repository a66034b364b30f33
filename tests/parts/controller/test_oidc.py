"""Tokens of a real identity provider: whose count, and what of them."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.testing.identity import AUDIENCE, IdentityProvider, new_key
from tests.testing.ports import free_port
from towline.controller.auth import Authenticator, Caller
from towline.controller.oidc import Issuer, Provider
from towline.controller.token_keys import ClientKey, TokenKeys
from towline.errors import InvalidConfiguration, TowlineError, Unauthorized

KEYS = TokenKeys([b"k" * 32])
ROLES = {"operators": ["write"], "everybody": ["read"]}
WITH_WEB = {**ROLES, "operators": ["write", "web"]}
WEB = {"web": ["docker:write@group:web"]}


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    with IdentityProvider(tmp_path_factory.mktemp("identity")) as provider:
        yield provider


def authenticator(
    identity: IdentityProvider, *, again_after: float = 0.0, **changes: Any
) -> Authenticator:
    provider = Provider(
        **{"issuer": identity.issuer, "audience": AUDIENCE, "groups": WITH_WEB, **changes}
    )
    return Authenticator(KEYS, WEB, issuer=Issuer(provider, again_after=again_after))


async def recognized(known: Authenticator, token: str) -> Caller:
    await known.prepare(token)
    return known.authenticate(token)


async def refused(known: Authenticator, token: str) -> str:
    with pytest.raises(Unauthorized) as caught:
        await recognized(known, token)
    assert token not in str(caught.value)
    return caught.value.error + caught.value.details


async def test_groups_are_what_the_configuration_makes_of_them(identity: IdentityProvider) -> None:
    known = authenticator(identity)
    found = {name: await recognized(known, identity.token(name)) for name in ("ann", "ben", "eve")}
    assert [each.subject for each in found.values()] == ["oidc/ann", "oidc/ben", "oidc/eve"]
    assert [each.roles for each in found.values()] == [["read", "web", "write"], ["read"], []]
    assert found["ann"].permissions == known.permissions_of(["read", "web", "write"])
    assert found["ann"].narrowed.keys() == {"docker:write"}
    assert found["eve"].permissions == frozenset()
    assert found["ben"].token_id
    # What else stands in a token gives nothing.
    more = identity.signed(groups="everybody", roles=["admin"], permissions=["job:admin"])
    assert (await recognized(known, more)).permissions == known.permissions_of(["read"])
    for groups in (None, [], [7, {"x": 1}, ["operators"]]):
        assert (await recognized(known, identity.signed(groups=groups))).roles == []
    for odd in ({"operators": True}, 7):
        assert "no groups" in await refused(known, identity.signed(groups=odd))
    other = authenticator(identity, claim="teams")
    assert (await recognized(other, identity.signed(teams=["everybody"]))).roles == ["read"]


async def test_a_token_for_somebody_else_is_refused(identity: IdentityProvider) -> None:
    known = authenticator(identity)
    assert "udience" in await refused(known, identity.token("ann", audience="urn:another"))
    for audience in ("urn:another", ["urn:another"], "", AUDIENCE.upper(), f"{AUDIENCE}/"):
        assert "aud" in (await refused(known, identity.signed(aud=audience))).lower()
    assert '"aud"' in await refused(known, identity.signed(aud=None))
    both = identity.signed(aud=["urn:another", AUDIENCE])
    assert (await recognized(known, both)).subject == "oidc/ann"


async def test_a_token_of_another_issuer_is_refused(identity: IdentityProvider) -> None:
    known = authenticator(identity)
    await recognized(known, identity.signed())
    for issuer in (f"{identity.issuer}/", "https://issuer.example", "", identity.issuer.upper()):
        assert "ssuer" in await refused(known, identity.signed(iss=issuer))
    assert '"iss"' in await refused(known, identity.signed(iss=None))


async def test_a_token_by_another_key_is_refused(identity: IdentityProvider) -> None:
    known, stranger = authenticator(identity), new_key()
    await recognized(known, identity.signed())
    assert "ignature" in await refused(known, identity.signed(key=stranger))
    for kid in ("second", "", "../first", None):
        said = await refused(known, identity.signed(key=stranger, kid=kid))
        assert "ignature" in said or "no key" in said
    whole = identity.signed()
    head, body, signature = whole.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["groups"] = ["everybody", "operators"]
    other = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert "ignature" in await refused(known, f"{head}.{other}.{signature}")
    await refused(known, f"{head}.{body}.{signature[::-1]}")


async def test_a_token_counts_for_its_time_and_no_longer(identity: IdentityProvider) -> None:
    known, now = authenticator(identity), time.time()
    for expires in (now - 1, now - 600, 0):
        assert "expired" in await refused(known, identity.signed(exp=expires))
    for early in (identity.signed(nbf=now + 600), identity.signed(iat=now + 600)):
        assert "not yet valid" in await refused(known, early)
    for wrong in (
        *(identity.signed(exp=None), identity.signed(exp="never"), identity.signed(iat=None)),
        *(identity.signed(sub=None), identity.signed(sub=""), identity.signed(sub="x" * 256)),
    ):
        await refused(known, wrong)
    # A revocation is kept for a year: what lived longer would count again.
    for issued, expires in ((now, now + 400 * 86400), (now - 86400, now + 365 * 86400), (1, 1e300)):
        assert "too long" in await refused(known, identity.signed(iat=issued, exp=expires))
    await recognized(known, identity.signed(exp=now + 364 * 86400))
    soon = identity.signed(exp=(end := time.time() + 3))
    await recognized(known, soon)
    await asyncio.sleep(end + 0.1 - time.time())
    assert "expired" in await refused(known, soon)


def _unsigned(identity: IdentityProvider, algorithm: str) -> str:
    body = identity.signed().split(".")[1]
    header = json.dumps({"alg": algorithm, "kid": "first"}).encode()
    return f"{base64.urlsafe_b64encode(header).rstrip(b'=').decode()}.{body}."


def _by_public_key(identity: IdentityProvider, algorithm: str) -> str:
    """Return a token whose secret is what everybody knows: the provider's public key."""
    public = identity.keys["first"].public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = identity.signed().split(".")[1]
    header = json.dumps({"alg": algorithm, "kid": "first"}).encode()
    signed = base64.urlsafe_b64encode(header).rstrip(b"=") + b"." + body.encode()
    hashed = jwt.get_algorithm_by_name(algorithm)
    signature = hashed.sign(signed, secret)
    return f"{signed.decode()}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "HS512", "ES256"])
async def test_what_a_token_says_of_its_algorithm_opens_nothing(
    identity: IdentityProvider, algorithm: str
) -> None:
    known = authenticator(identity)
    await recognized(known, identity.signed())
    await refused(known, _unsigned(identity, algorithm))
    if algorithm.startswith("HS"):
        await refused(known, _by_public_key(identity, algorithm))
    # The key is for RS256 alone, as it says.
    await refused(known, identity.signed(algorithm="RS512"))
    await refused(known, identity.signed(algorithm="PS256"))


async def test_the_fleets_own_tokens_stay_its_own(identity: IdentityProvider) -> None:
    known = authenticator(identity)
    own = KEYS.create(subject="ann", roles=["admin"], lifetime=60)
    assert (await recognized(known, own)).subject == "ann"
    # Nor is one of the fleet's own by a key of the issuer.
    kid = jwt.get_unverified_header(own)["kid"]
    assert "alg value" in await refused(known, identity.signed(kid=kid))
    forged = identity.signed(kid=kid, sub="ann", jti="x", roles=["admin"], iss=None)
    await refused(known, forged)


async def test_a_new_key_counts_at_once_and_one_that_is_gone_no_more(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with IdentityProvider(tmp_path_factory.mktemp("changing"), "ES256") as identity:
        known = authenticator(identity)
        await recognized(known, old := identity.token("ann"))
        await asyncio.to_thread(identity.stop)
        # Without the issuer its keys are known still.
        await recognized(known, identity.signed(sub="later"))
        identity.keys = {"second": new_key("ES256"), "first": identity.keys["first"]}
        await asyncio.to_thread(identity.start)
        await recognized(known, new := await asyncio.to_thread(identity.token, "ann"))
        assert jwt.get_unverified_header(new)["kid"] == "second"
        begun = await recognized(known, old)
        assert known.holds(begun)
        await asyncio.to_thread(identity.stop)
        del identity.keys["first"]
        identity.keys["third"] = new_key("ES256")
        await asyncio.to_thread(identity.start)
        with pytest.raises(Unauthorized):  # it has the keys fetched
            await recognized(known, identity.signed(kid="fourth", key=new_key("ES256")))
        assert not known.holds(begun)
        assert known.holds(await recognized(known, new))
        assert "no key" in await refused(known, old)


async def test_tokens_with_unknown_keys_have_keys_fetched_once_in_a_while_and_block_nobody(
    identity: IdentityProvider,
) -> None:
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.read(1)
        await asyncio.sleep(60)

    port = free_port()
    silent = f"http://127.0.0.1:{port}"
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    provider = Provider(silent, AUDIENCE, groups=ROLES)
    issuer = Issuer(provider, fetched_within=0.3, again_after=600.0)
    known = Authenticator(KEYS, issuer=issuer)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    tokens = [identity.signed(iss=silent, kid=f"k{number}") for number in range(50)]
    answers = await asyncio.gather(
        *(known.prepare(each) for each in tokens), return_exceptions=True
    )
    assert {type(each) for each in answers} == {TowlineError}
    assert asked == 1
    assert ticks > 5
    with pytest.raises(TowlineError, match="issuer"):
        await known.prepare(identity.signed(iss=silent, kid="another"))
    assert asked == 1
    # Whoever has a token of another kind waits for none of it.
    own = KEYS.create(subject="ann", roles=["admin"], lifetime=60)
    assert (await recognized(known, own)).subject == "ann"
    ticking.cancel()
    server.close()


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ({"issuer": "https://another.example", "jwks_uri": "HERE/jwks"}, "calls itself"),
        ({"issuer": "HERE", "jwks_uri": "http://issuer.example/jwks"}, "not encrypted"),
        ({"issuer": "HERE", "jwks_uri": "file:///etc/passwd"}, "not encrypted"),
        ({"issuer": "HERE"}, "jwks_uri"),
        ([], "Expected"),
        ("x" * 2_000_000, "more than"),
        ({"issuer": "HERE", "jwks_uri": "HERE/nothing"}, "404"),
        ({"issuer": "HERE", "jwks_uri": "HERE/secrets"}, "no keys"),
        ({"issuer": "HERE", "jwks_uri": "HERE/elsewhere"}, "302"),
    ],
)
async def test_an_issuer_that_answers_something_else_is_believed_nothing(
    identity: IdentityProvider, documents: Any, said: str
) -> None:
    port = free_port()
    here = f"http://127.0.0.1:{port}"
    secret = base64.urlsafe_b64encode(b"s" * 32).decode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path, status, more = head.split()[1], "200 OK", ""
        text = json.dumps(documents).replace("HERE", here)
        if path == "/nothing":
            status = "404 Not Found"
        elif path == "/elsewhere":
            status, more = "302 Found", f"Location: {identity.issuer}/jwks\r\n"
        elif path == "/secrets":
            text = json.dumps({"keys": [{"kty": "oct", "k": secret, "kid": "first"}]})
        head = f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(text)}\r\n\r\n"
        writer.write(head.encode() + text.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    known = Authenticator(KEYS, issuer=Issuer(Provider(here, AUDIENCE, groups=ROLES)))
    with pytest.raises(TowlineError) as caught:
        await known.prepare(identity.signed(iss=here))
    assert said in caught.value.error + caught.value.details
    server.close()


def test_what_can_not_be_configured_is_refused_at_the_start() -> None:
    provider = Provider("https://issuer.example", AUDIENCE, groups={"a": ["nothing"]})
    with pytest.raises(InvalidConfiguration, match="no role 'nothing'"):
        Authenticator(KEYS, issuer=Issuer(provider))
    provider = Provider("https://issuer.example", AUDIENCE, groups={"a": ["read"]})
    clients = [ClientKey("oidc", b"x" * 32, ["read"], 60.0)]
    with pytest.raises(InvalidConfiguration, match="is called 'oidc'"):
        Authenticator(KEYS, clients=clients, issuer=Issuer(provider))
