import os
import re
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.process import Process
from towline.errors import InvalidConfiguration, StateInUse
from towline.runtime import state_directory
from towline.runtime.state_directory import (
    KEPT_BEFORE,
    LAYOUT,
    PRESENT_LAYOUT,
    Lock,
    machine_id,
    open_directory,
    write_private,
)


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    """What is private must be so by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "var" / "towline"
    assert open_directory(path) == path
    assert mode(path) == 0o700


def test_a_directory_that_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(0o750)
    assert open_directory(tmp_path) == tmp_path
    assert mode(tmp_path) == 0o750
    assert (tmp_path / "file").exists()


def test_the_directory_is_known_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("state")
    open_directory(Path("state"))
    assert open_directory(Path("link")) == open_directory(Path("state")) == tmp_path / "state"


def test_a_directory_that_cannot_be_made_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(InvalidConfiguration, match="can't be used") as refused:
            open_directory(path)
        assert repr(str(path)) in refused.value.error
        assert "--state" in refused.value.details


@pytest.mark.parametrize(
    ("environment", "user", "expected"),
    [
        ({"STATE_DIRECTORY": "/srv/a"}, 0, "/srv/a"),
        ({"STATE_DIRECTORY": "/srv/a:/srv/b"}, 1000, "/srv/a"),
        ({"XDG_STATE_HOME": "/home/me/.state"}, 0, "/var/lib/towline"),
        ({"XDG_STATE_HOME": "/home/me/.state"}, 1000, "/home/me/.state/towline"),
        ({"HOME": "/home/me"}, 1000, "/home/me/.local/state/towline"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": ""}, 1000, "/home/me/.local/state/towline"),
    ],
)
def test_by_default_state_is_where_the_platform_has_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], user: int, expected: str
) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert state_directory.default_directory() == Path(expected)


def test_a_lock_has_one_holder_and_names_it(tmp_path: Path) -> None:
    (tmp_path / "agent.lock").write_text("12345678901234567890\n")
    lock = Lock(tmp_path, "agent")
    with pytest.raises(StateInUse, match=rf"\(process {os.getpid()}\)") as refused:
        Lock(tmp_path, "agent")
    assert repr(str(tmp_path)) in refused.value.error
    assert "--state" in refused.value.details
    lock.close()
    Lock(tmp_path, "agent").close()


def test_parts_of_different_kinds_share_a_directory(tmp_path: Path) -> None:
    locks = [Lock(tmp_path, part) for part in ("agent", "controller")]
    assert {path.name for path in tmp_path.iterdir()} == {"agent.lock", "controller.lock"}
    assert all(mode(path) == 0o600 for path in tmp_path.iterdir())
    for lock in locks:
        lock.close()


def test_a_refused_lock_leaves_the_holders_name(tmp_path: Path) -> None:
    lock = Lock(tmp_path, "agent")
    for _ in range(2):
        with pytest.raises(StateInUse, match=f"process {os.getpid()}"):
            Lock(tmp_path, "agent")
    lock.close()


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    program = """
import pathlib, sys, time
from towline.runtime.state_directory import Lock
lock = Lock(pathlib.Path(sys.argv[1]), "agent")
print("locked", flush=True)
time.sleep(600)
"""
    command: list[str | Path] = [sys.executable, "-c", program, tmp_path]
    with Process("holder", command, logs=tmp_path) as process:
        process.wait_for_output("locked")
        with pytest.raises(StateInUse, match=f"process {process.pid}"):
            Lock(tmp_path, "agent")
        process.kill()
        Lock(tmp_path, "agent").close()


def test_a_lock_is_not_inherited_by_programs_that_its_holder_starts(tmp_path: Path) -> None:
    lock = Lock(tmp_path, "agent")
    with Process("child", [sys.executable, "-c", "input()"], logs=tmp_path):
        lock.close()
        Lock(tmp_path, "agent").close()


def test_a_private_file_is_its_owners_alone_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old and longer")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_as_it_was_where_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "new\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("given", ["web-01", "3f2504e04f8941d39a0c0305e82c3301"])
def test_a_machine_id_that_is_given_is_taken_and_not_kept(tmp_path: Path, given: str) -> None:
    assert machine_id(tmp_path, given) == given
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["", "web.01", "_all", "a b", "job.*", "a" * 65])
def test_a_machine_id_that_could_be_no_subject_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(InvalidConfiguration, match="machine id is not valid") as refused:
        machine_id(tmp_path, given)
    assert repr(given) in refused.value.details


def test_a_directory_whose_name_is_no_text_has_a_machine_id_too(tmp_path: Path) -> None:
    directory = tmp_path / os.fsdecode(b"caf\xe9")
    directory.mkdir()
    assert machine_id(directory, None) == machine_id(directory, None)


def test_a_directory_has_a_machine_id_of_its_own_that_stays(tmp_path: Path) -> None:
    first, second = (open_directory(tmp_path / name) for name in ("a", "b"))
    made = machine_id(first, None)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert machine_id(first, None) == made
    assert machine_id(second, None) != made
    assert mode(first / "machine-id") == 0o600
    first.rename(tmp_path / "moved")
    assert machine_id(tmp_path / "moved", None) == made


def test_a_node_whose_state_was_lost_keeps_its_machine_id(tmp_path: Path) -> None:
    etc = Path("/etc/machine-id")
    if not (etc.exists() and etc.read_text().strip()):
        pytest.skip("this machine has no id")
    made = machine_id(tmp_path, None)
    (tmp_path / "machine-id").unlink()
    assert machine_id(tmp_path, None) == made
    (tmp_path / "machine-id").unlink()
    (tmp_path.parent / "link").symlink_to(tmp_path)
    assert machine_id(tmp_path.parent / "link", None) == made
    # machine-id(5): the machine's own is confidential.
    assert etc.read_text().strip() not in made


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_machine_without_an_id_gets_one_at_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    read = Path.read_text

    def read_text(path: Path) -> str:
        if path == Path("/etc/machine-id"):
            if content is None:
                raise FileNotFoundError(path)
            return content
        return read(path)

    monkeypatch.setattr(Path, "read_text", read_text)
    made = machine_id(tmp_path, None)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert machine_id(tmp_path, None) == made
    (tmp_path / "machine-id").unlink()
    assert machine_id(tmp_path, None) != made


@pytest.mark.parametrize("content", [b"", b"\n", b"a b\n", b"_all", b"job.>", b"\xff\xfe", b"\0"])
def test_a_damaged_machine_id_is_refused_by_its_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "machine-id"
    path.write_bytes(content)
    with pytest.raises(InvalidConfiguration, match="not valid") as refused:
        machine_id(tmp_path, None)
    assert repr(str(path)) in refused.value.error
    assert path.read_bytes() == content


def test_the_hostname_is_the_machines_unless_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "web-01.example")
    assert state_directory.hostname(None) == "web-01.example"
    assert state_directory.hostname("db-01") == "db-01"


@pytest.mark.parametrize("name", ["_all", "web 01", "web_", "group:web", "a" * 65])
def test_a_hostname_that_could_be_no_target_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    for given in (None, name):
        with pytest.raises(InvalidConfiguration, match="hostname is not valid") as refused:
            state_directory.hostname(given)
        assert repr(name) in refused.value.details
        assert "--hostname" in refused.value.details


def test_a_new_directory_is_marked_with_its_layout_and_used_again(tmp_path: Path) -> None:
    for _ in range(2):
        open_directory(tmp_path / "state")
        assert (tmp_path / "state" / LAYOUT).read_text() == f"{PRESENT_LAYOUT}\n"


@pytest.mark.parametrize("kept", KEPT_BEFORE)
def test_a_directory_of_version_0_1_is_refused_until_what_can_t_be_read_is_moved(
    tmp_path: Path, kept: str
) -> None:
    (tmp_path / kept).write_text("")
    (tmp_path / "machine-id").write_text("a" * 32)
    with pytest.raises(InvalidConfiguration, match="is of another version of Towline") as refused:
        open_directory(tmp_path)
    assert f"move {kept} out of it" in refused.value.details
    assert not (tmp_path / LAYOUT).exists()
    (tmp_path / kept).rename(tmp_path.parent / f"{tmp_path.name}-{kept}")
    open_directory(tmp_path)
    assert machine_id(tmp_path, None) == "a" * 32


@pytest.mark.parametrize("found", ["3", "", "x"])
def test_a_directory_of_a_version_that_is_not_known_is_refused(tmp_path: Path, found: str) -> None:
    (tmp_path / LAYOUT).write_text(found)
    (tmp_path / "ledger.sqlite").write_text("")
    with pytest.raises(InvalidConfiguration) as refused:
        open_directory(tmp_path)
    assert LAYOUT in refused.value.details
    assert (tmp_path / LAYOUT).read_text() == found
