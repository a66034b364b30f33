"""NATS's JWTs: what is read is what was signed, by whom it has to be."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.trust import claims
from towline.trust.claims import (
    ACCOUNT,
    OPERATOR,
    USER,
    Account,
    Limits,
    NotTrusted,
    Operator,
    User,
)

SEED = claims.make_seed(ACCOUNT)
KEY = claims.public_key(SEED)
ABOUT = claims.public_key(claims.make_seed(USER))
TOKEN = claims.sign(User(issuer_account=KEY), by=SEED, about=ABOUT, name="m")


@pytest.mark.parametrize(("kind", "letter"), [(OPERATOR, "O"), (ACCOUNT, "A"), (USER, "U")])
def test_a_key_s_kind_is_its_first_letter(kind: int, letter: str) -> None:
    seed = claims.make_seed(kind)
    assert seed.startswith(f"S{letter}")
    assert claims.public_key(seed).startswith(letter)
    assert claims.make_seed(kind) != seed


NO_SEEDS = {
    **{"empty": "", "short": "x", "a beginning": "SU", "letters": "S" * 58},
    **{"a wrong checksum": "SU" + "A" * 56, "a public key": ABOUT, "not ASCII": "é"},
    "cut": SEED[:-4],
}


@pytest.mark.parametrize("what", NO_SEEDS)
def test_what_is_no_seed_is_refused(what: str) -> None:
    with pytest.raises(ValueError, match="seed"):
        claims.public_key(NO_SEEDS[what])


@pytest.mark.parametrize(
    "body",
    [
        Operator("A", ("O1", "O2")),
        Account(Limits(subs=-1, disk_storage=-1), revocations={"U": 5}),
        User(subs=-1),
    ],
)
def test_what_is_read_is_what_was_signed(body: Any) -> None:
    token = claims.sign(body, by=SEED, about=ABOUT, name="a name")
    found, read = claims.read(token, type(body), {KEY})
    assert (found.sub, found.iss, found.name, found.exp) == (ABOUT, KEY, "a name", 0)
    assert abs(found.iat - time.time()) < 3600
    fields = [name for name in body.__struct_fields__ if name not in ("type", "version")]
    assert [getattr(read, name) for name in fields] == [getattr(body, name) for name in fields]
    assert read.version == 2


def test_only_who_is_trusted_signs() -> None:
    assert claims.read(TOKEN, User, {"A", KEY})[0].name == "m"
    assert claims.read(TOKEN, User)[0].name == "m"
    for issuers in (set(), {ABOUT}):
        with pytest.raises(NotTrusted, match="not trusted"):
            claims.read(TOKEN, User, issuers)


def test_of_another_kind_or_after_its_end_it_is_refused() -> None:
    with pytest.raises(NotTrusted, match="no account"):
        claims.read(TOKEN, Account, {KEY})
    for exp, ended in ((int(time.time()) - 1, True), (int(time.time()) + 3600, False)):
        token = claims.sign(User(), by=SEED, about=ABOUT, name="m", exp=exp)
        if ended:
            with pytest.raises(NotTrusted, match="ended"):
                claims.read(token, User, {KEY})
        else:
            assert claims.read(token, User, {KEY})[0].exp == exp


def test_none_of_its_letters_may_be_another() -> None:
    # The last one stands for four bits of padding as well.
    for place in range(len(TOKEN) - 1):
        letter = "A" if TOKEN[place] != "A" else "B"
        with pytest.raises(NotTrusted):
            claims.read(TOKEN[:place] + letter + TOKEN[place + 1 :], User, {KEY})


@given(st.text() | st.lists(st.text(), min_size=3, max_size=3).map(".".join))
def test_whatever_is_no_jwt_is_refused(text: str) -> None:
    with pytest.raises(NotTrusted):
        claims.read(text, User)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


HEADER = encoded(b'{"typ":"JWT","alg":"ed25519-nkey"}')
PAYLOADS = {
    "no JSON": b"{",
    "deep": b"[" * 100_000,
    "bad UTF-8": b'{"sub":"\xff"}',
    "another's type": b'{"sub":1,"iss":"A","name":"m","iat":1,"jti":"x","nats":{}}',
    "a key that is none": json.dumps(
        {"sub": "U", "iss": "A", "name": "m", "iat": 1, "jti": "x", "nats": {"type": "user"}}
    ).encode(),
}


@pytest.mark.parametrize("what", PAYLOADS)
def test_a_payload_that_is_none_is_refused(what: str) -> None:
    with pytest.raises(NotTrusted):
        claims.read(f"{HEADER}.{encoded(PAYLOADS[what])}.{'A' * 86}", User)


def test_a_login_s_name_is_that_in_its_jwt(tmp_path: Path) -> None:
    path = tmp_path / "login"
    for exp in (0, int(time.time()) + 3600, 1):
        token = claims.sign(User(), by=SEED, about=ABOUT, name="m", exp=exp)
        path.write_text(claims.credentials(token, claims.make_seed(USER)))
        assert claims.name_in(path) == "m"


NO_JWTS = {
    **{"empty": b"", "a password": b"user:password", "bad UTF-8": b"\xff"},
    **{"a seed": claims.make_seed(USER).encode(), "a JWT alone": TOKEN.encode()},
}


@pytest.mark.parametrize("what", NO_JWTS)
def test_a_login_of_another_kind_has_no_name(what: str, tmp_path: Path) -> None:
    path = tmp_path / "login"
    assert claims.name_in(path) is None
    path.write_bytes(NO_JWTS[what])
    assert claims.name_in(path) is None
