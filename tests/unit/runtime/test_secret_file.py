"""Files with secrets that others may read are refused, or warned of."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from towline.controller.token_keys import load_keys
from towline.errors import InvalidConfiguration
from towline.runtime.keys import NODE_KEY, node_key, open_vault
from towline.runtime.secret_file import check_secret_file

NAME = "The key"
CLOSED = [0o600, 0o400, 0o700]
OF_THE_GROUP = [0o640, 0o660, 0o620]
OPEN = [0o644, 0o666, 0o604, 0o602, 0o444, 0o777]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a key"
    path.write_text("0" * 64)
    return path


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("mode", CLOSED)
def test_a_file_of_its_owner_alone_is_nothing_to_speak_of(
    path: Path, caplog: pytest.LogCaptureFixture, mode: int, named: bool
) -> None:
    path.chmod(mode)
    check_secret_file(path, NAME, named=named)
    assert warnings(caplog) == []


@pytest.mark.parametrize("mode", OPEN)
def test_a_file_of_ours_that_anybody_may_read_is_refused_with_its_mode_and_the_mend(
    path: Path, mode: int
) -> None:
    path.chmod(mode)
    with pytest.raises(InvalidConfiguration) as refused:
        check_secret_file(path, NAME, named=False)
    assert refused.value.error == (
        f"The key, {str(path)!r}, is open to any user of this machine: its mode is {mode:04o}."
    )
    assert f"chmod 600 '{path}'" in refused.value.details


@pytest.mark.parametrize("mode", OPEN)
def test_a_file_that_somebody_named_is_warned_of_for_containers_get_secrets_so(
    path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    path.chmod(mode)
    check_secret_file(path, NAME, named=True)
    (words,) = warnings(caplog)
    assert f"is open to any user of this machine: its mode is {mode:04o}." in words
    assert words.endswith(f"chmod 600 '{path}'")


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("mode", OF_THE_GROUP)
def test_a_file_that_our_group_may_read_is_warned_of(
    path: Path, caplog: pytest.LogCaptureFixture, mode: int, named: bool
) -> None:
    """A refusal would end what runs with a volume whose files are given to a group."""
    path.chmod(mode)
    check_secret_file(path, NAME, named=named)
    (words,) = warnings(caplog)
    assert f"is open to its group: its mode is {mode:04o}." in words


@pytest.mark.parametrize("mode", [0o640, 0o440])
def test_a_file_of_somebody_else_that_is_given_to_us_by_its_group_is_as_it_should_be(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    path.chmod(mode)
    other = path.stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    check_secret_file(path, NAME, named=True)
    assert warnings(caplog) == []


LOADERS: list[Callable[[Path, bool], object]] = [
    lambda path, create: load_keys(path, create=create),
    lambda path, create: open_vault(path, create=create),
]


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("load", LOADERS, ids=["token", "credentials"])
def test_keys_of_the_state_directory_are_refused_and_named_ones_only_warned_of(
    path: Path,
    caplog: pytest.LogCaptureFixture,
    load: Callable[[Path, bool], object],
    create: bool,
) -> None:
    path.chmod(0o644)
    with pytest.raises(InvalidConfiguration, match="its mode is 0644"):
        load(path, create)
    load_keys(path, create=False, named=True)
    open_vault(path, create=False, named=True)
    assert [f"chmod 600 '{path}'" in words for words in warnings(caplog)] == [True, True]


def test_a_node_s_key_that_anybody_may_read_is_refused(tmp_path: Path) -> None:
    made = node_key(tmp_path)
    (tmp_path / NODE_KEY).chmod(0o644)
    with pytest.raises(InvalidConfiguration, match="The key of this node"):
        node_key(tmp_path)
    (tmp_path / NODE_KEY).chmod(0o600)
    assert node_key(tmp_path).public == made.public
