"""The files with the keys of tokens."""

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from towline.controller.token_keys import TokenKeys, load_client_key, load_keys
from towline.errors import InvalidConfiguration, InvalidRequest

LINES = ["6b" * 32, "6a" * 32]


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


def kids(path: Path, *, create: bool = False) -> list[str]:
    return list(load_keys(path, create=create).public)


def test_the_id_of_a_key_is_the_thumbprint_of_its_jwk() -> None:
    # RFC 8037, appendices A.1 and A.3.
    seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    assert list(TokenKeys([bytes.fromhex(seed)]).public) == [
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    ]


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "token.key"
    made = kids(path, create=True)
    assert re.fullmatch("[0-9a-f]{64}\n", path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert kids(path, create=True) == kids(path) == made
    assert kids(tmp_path / "other.key", create=True) != made


def test_a_key_that_many_make_at_once_is_one_key(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: tuple(kids(path, create=True)), range(8)))
    assert found == {tuple(kids(path))}
    assert [each.name for each in tmp_path.iterdir()] == ["token.key"]


def test_of_several_keys_the_first_signs(tmp_path: Path) -> None:
    keys = load_keys(written(tmp_path / "key", "\n\n".join(LINES)), create=False)
    token = keys.create(subject="ci", roles=["read"], lifetime=60)
    first, second = keys.public
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "JWT", "kid": first}
    assert [first, second] == [*TokenKeys([b"k" * 32]).public, *TokenKeys([b"j" * 32]).public]


@pytest.mark.parametrize(
    ("subject", "roles", "lifetime", "says"),
    [
        ("ci", ["read"], 366 * 86400.0, "365 days at most"),
        ("ci", ["read"], 0.5, "a second at least"),
        ("ci", ["x" * 8192], 60.0, "8192 is the most"),
        ("set:web", ["read"], 60.0, "doesn't begin with 'set:'"),
    ],
)
def test_a_token_that_no_controller_would_take_is_not_made(
    subject: str, roles: list[str], lifetime: float, says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says):
        TokenKeys([b"k" * 32]).create(subject=subject, roles=roles, lifetime=lifetime)


@pytest.mark.parametrize(
    "text", ["", "6b", "6b" * 31, "6b" * 33, "x" * 64, "6b" * 32 + "\nx", "6b" * 32 + "\n6b"]
)
@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_holds_no_keys_is_refused_with_what_it_should_hold(
    tmp_path: Path, text: str, create: bool
) -> None:
    path = written(tmp_path / "key", text)
    with pytest.raises(InvalidConfiguration, match="64 hex digits a line") as refused:
        load_keys(path, create=create)
    assert str(path) in refused.value.error


def test_more_keys_than_anybody_needs_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "key", "\n".join(f"{number:064x}" for number in range(17)))
    with pytest.raises(InvalidConfiguration, match="up to 16 keys"):
        load_keys(path, create=False)


@pytest.mark.parametrize("text", [b"\xff" * 32])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(InvalidConfiguration, match="can't be read"):
        load_keys(written(tmp_path / "key", text), create=False)


def test_a_key_that_is_missing_is_not_made_unasked(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for load in (lambda: load_keys(path, create=False), lambda: load_client_key(path)):
        with pytest.raises(InvalidConfiguration, match="can't be read") as refused:
            load()
        assert str(path) in refused.value.error
    assert not path.exists()


def test_a_key_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "key"
    with pytest.raises(InvalidConfiguration, match="can't be read") as refused:
        load_keys(path, create=True)
    assert str(path) in refused.value.error


def test_a_client_s_key_is_taken_as_it_is_and_refused_if_it_is_too_short(tmp_path: Path) -> None:
    assert load_client_key(written(tmp_path / "key", b"\xff" * 32 + b"\n")) == b"\xff" * 32
    with pytest.raises(InvalidConfiguration, match=r"too short.*32 bytes"):
        load_client_key(written(tmp_path / "key", "k" * 31))


def test_a_key_of_a_pair_is_refused_as_a_client_s_when_it_is_loaded(tmp_path: Path) -> None:
    # Its tokens, whoever had made them, would be no refusals but faults of the controller.
    key = Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(InvalidConfiguration, match=r"is no secret.*key pair"):
        load_client_key(written(tmp_path / "key", pem))
