"""What a node keeps that came in by an invite appears whole, or leaves nothing behind."""

from pathlib import Path

import pytest

from towline.errors import InvalidConfiguration
from towline.trust import identity
from towline.trust.identity import Identity, Keys
from towline.wire.joining import JoinAnswer


def keep(state: Path) -> Identity:
    answer = JoinAnswer("accepted", "m1", "web-01", "0000", jwt="x.y.z", jobs=["ab" * 32])
    brokers = ["tls://192.0.2.1:4222"]
    return identity.keep(state, Keys(), answer, brokers, controller="https://c:8080", pin="p")


def test_one_that_cannot_be_kept_leaves_no_secret_and_the_one_that_is_there(tmp_path: Path) -> None:
    there = tmp_path / identity.DIRECTORY / "node.json"
    there.parent.mkdir()
    there.write_text("{}")
    with pytest.raises(InvalidConfiguration, match="can't be written"):
        keep(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [there]
    assert [each.name for each in tmp_path.iterdir()] == [identity.DIRECTORY]
    assert there.read_text() == "{}"


def test_what_was_left_half_written_is_no_identity_and_goes_with_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".identity-killed"
    left.mkdir()
    (left / "node.creds").write_text("secret")
    assert identity.find(tmp_path) is None
    assert keep(tmp_path).node.hostname == "web-01"
    assert [each.name for each in tmp_path.iterdir()] == [identity.DIRECTORY]
