from pathlib import Path

import pytest

from towline.errors import InvalidConfiguration
from towline.runtime.keys import NODE_KEY, WrongKey, node_key, open_vault, seal

SECRET = b"s3cret"


def test_what_is_locked_opens_with_the_same_key_in_the_same_place_only(tmp_path: Path) -> None:
    path = tmp_path / "credentials.key"
    vault = open_vault(path, create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    locked = vault.lock(SECRET, "here")
    assert "s3cret" not in locked
    again = open_vault(path, create=False)
    assert again.fingerprint == vault.fingerprint
    assert again.unlock(locked, "here", vault.fingerprint) == SECRET
    other = open_vault(tmp_path / "other.key", create=True)
    assert other.fingerprint != vault.fingerprint
    for wrong, place in ((other, "here"), (vault, "there")):
        with pytest.raises(WrongKey):
            wrong.unlock(locked, place, vault.fingerprint)


def test_of_several_keys_the_first_locks_and_all_open(tmp_path: Path) -> None:
    path = tmp_path / "credentials.key"
    old = open_vault(path, create=True)
    locked = old.lock(SECRET, "here")
    path.write_text("6b" * 32 + "\n" + path.read_text())
    vault = open_vault(path, create=False)
    assert vault.fingerprint != old.fingerprint
    assert vault.unlock(locked, "here", old.fingerprint) == SECRET
    anew = vault.lock(SECRET, "here")
    with pytest.raises(WrongKey):
        old.unlock(anew, "here", vault.fingerprint)
    old.replace(vault)
    assert old.unlock(anew, "here", vault.fingerprint) == SECRET


def test_what_is_sealed_only_the_node_can_read(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    key, other = node_key(tmp_path / "one"), node_key(tmp_path / "other")
    assert (tmp_path / "one" / NODE_KEY).stat().st_mode & 0o777 == 0o600
    sealed = seal(SECRET, key.public)
    assert node_key(tmp_path / "one").unseal(sealed) == SECRET
    with pytest.raises(WrongKey):
        other.unseal(sealed)


@pytest.mark.parametrize("public", ["", "AAAA", "not base64!", "é"])
def test_nothing_is_sealed_to_what_is_no_key(public: str) -> None:
    with pytest.raises(ValueError, match="X25519"):
        seal(SECRET, public)


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 66, "zz" * 32])
def test_a_file_that_holds_no_key_is_named_and_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "credentials.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(InvalidConfiguration) as refused:
        open_vault(path, create=True)
    assert str(path) in refused.value.error
    assert path.read_text() == text


def test_a_key_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        open_vault(tmp_path / "absent.key", create=False)
    assert "absent.key" in refused.value.error
