"""What must outlast a power cut, on a disk that loses whatever was not synced."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.testing.disk import Disk
from towline.controller.token_keys import load_keys
from towline.runtime.keys import node_key, open_vault
from towline.runtime.state_directory import (
    keep_private,
    machine_id,
    make_private,
    open_directory,
    write_private,
)
from towline.trust import identity
from towline.trust.identity import Keys
from towline.trust.keys import FILES, create
from towline.wire.joining import JoinAnswer


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(tmp_path)
    monkeypatch.setattr(os, "fsync", disk.sync)
    return disk


@pytest.mark.parametrize("write", [write_private, keep_private])
def test_a_private_file_outlasts_a_power_cut(
    disk: Disk, write: Callable[[Path, str], None]
) -> None:
    write(disk.root / "file", "whole")
    assert disk.after_a_power_cut()["file"] == "whole"


@pytest.mark.parametrize("write", [write_private, keep_private])
@pytest.mark.parametrize("last", range(1, 4))
def test_a_private_file_is_never_there_without_its_content(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, str], None], last: int
) -> None:
    """The power is cut before the call to the kernel that is `last` in number."""
    left = last

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return call(*arguments, **named)

        return called

    for name in ("fsync", "link", "replace"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    with pytest.raises(KeyboardInterrupt):
        write(disk.root / "file", "whole")
    # Where a directory wasn't synced, its names may be on the disk all the same.
    descriptor = os.open(disk.root, os.O_RDONLY)
    disk.sync(descriptor)
    os.close(descriptor)
    assert disk.after_a_power_cut().get("file", "whole") == "whole"


def test_a_file_that_is_replaced_is_the_old_one_or_the_new_one(disk: Disk) -> None:
    write_private(disk.root / "file", "old")
    write_private(disk.root / "file", "new")
    assert disk.after_a_power_cut()["file"] == "new"


def test_directories_that_are_made_outlast_a_power_cut_with_what_is_in_them(disk: Disk) -> None:
    make_private(disk.root / "a" / "b")
    write_private(disk.root / "a" / "b" / "file", "whole")
    keep_private(disk.root / "c" / "d" / "key", "whole")
    directory = open_directory(disk.root / "var" / "towline")
    write_private(directory / "file", "whole")
    assert {path for path in disk.after_a_power_cut() if "/." not in path} == {
        *("a/b/file", "c/d/key", "var/towline/file", "var/towline/layout")
    }


def test_keys_and_the_machine_id_outlast_a_power_cut(disk: Disk) -> None:
    state = open_directory(disk.root / "state")
    load_keys(state / "token.key", create=True)
    open_vault(state / "credentials.key", create=True)
    node_key(state)
    machine_id(state, None)
    kept = disk.after_a_power_cut()
    for name in ("token.key", "credentials.key", "node.key", "machine-id"):
        assert kept[f"state/{name}"] == (state / name).read_text() != ""


def test_the_keys_of_a_fleet_outlast_a_power_cut(disk: Disk) -> None:
    state = open_directory(disk.root / "fleet")
    trust = create(state)
    kept = disk.after_a_power_cut()
    assert {f"fleet/trust/{name}" for name in FILES} <= kept.keys()
    for name in FILES:
        assert kept[f"fleet/trust/{name}"] == trust.path(name).read_text() != ""


def test_what_a_machine_came_in_with_outlasts_a_power_cut(disk: Disk) -> None:
    state = open_directory(disk.root / "node")
    answer = JoinAnswer("accepted", "m1", "web-01", "0000", jwt="x.y.z", jobs=["ab" * 32])
    found = identity.keep(
        *(state, Keys(), answer, ["tls://192.0.2.1:4222"]), controller="https://c:8080", pin="p"
    )
    kept = disk.after_a_power_cut()
    names = {path.name for path in found.directory.iterdir()}
    assert {"node.json", "node.creds", "node.key"} <= names
    for name in names:
        text = (found.directory / name).read_text()
        assert kept[f"node/{identity.DIRECTORY}/{name}"] == text != ""


def test_a_directory_that_may_be_written_but_not_read_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    opened = os.open

    def refusing(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(path)
        return opened(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refusing)
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    write_private(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"
    assert synced
