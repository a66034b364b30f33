"""Keys are replaced in steps, and read again by what uses them."""

import asyncio
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from towline.controller.token_keys import TokenKeys, load_keys
from towline.errors import InvalidConfiguration
from towline.runtime.key_files import retire, rotate
from towline.runtime.key_watch import KeyFile, KeyFiles
from towline.runtime.keys import Vault, open_vault
from towline.trust.job_keys import load_signer
from towline.trust.signing import Signer

FIRST = "6b" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "token.key"
    path.touch(0o600)
    path.write_text(f"{FIRST}\n")
    return path


def test_a_new_key_is_known_then_the_first_then_the_only_one(path: Path) -> None:
    assert not rotate(path, "The key")
    first, word, new = path.read_text().split()
    assert (first, word, len(new)) == (FIRST, "next", 64)
    assert rotate(path, "The key")
    assert path.read_text().split() == [new, FIRST]
    assert retire(path, "The key") == 1
    assert path.read_text().split() == [new]
    assert retire(path, "The key") == 0
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_stays_of_a_key_that_is_retired_and_is_none_itself(path: Path) -> None:
    rotate(path, "The key")
    new = path.read_text().split()[-1]
    rotate(path, "The key")
    assert retire(path, "The key", lambda key: key[:4]) == 1
    assert path.read_text() == f"{new}\nretired 6b6b\n"
    assert not rotate(path, "The key")
    newest = path.read_text().split()[2]
    rotate(path, "The key")
    retire(path, "The key", lambda key: key[:4])
    assert path.read_text() == f"{newest}\nretired 6b6b\nretired {new[:4]}\n"


@pytest.mark.parametrize("content", ["", "retired 6b6b\n", f"next {FIRST}\n", f"what {FIRST}\n"])
def test_nothing_is_changed_where_a_step_can_not_be_known(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(InvalidConfiguration, match=path.name):
        rotate(path, "The key")
    assert path.read_text() == content


def test_no_step_is_taken_twice_and_none_before_its_time(path: Path) -> None:
    rotate(path, "The key")
    known = path.read_text()
    with pytest.raises(InvalidConfiguration, match="not the first yet"):
        retire(path, "The key")
    assert path.read_text() == known
    rotate(path, "The key")
    signs = path.read_text()
    with pytest.raises(InvalidConfiguration, match=r"first already: .* --retire"):
        rotate(path, "The key")
    assert path.read_text() == signs
    retire(path, "The key")
    assert path.read_text().strip() == signs.split()[0]


def test_a_key_that_is_to_come_is_read_behind_the_others_by_whatever_reads_such_a_file(
    path: Path,
) -> None:
    rotate(path, "The key")
    new = path.read_text().split()[-1]
    seeds = [bytes.fromhex(each) for each in (FIRST, new)]
    path.write_text(f"next {new}\n{FIRST}\n")
    assert [*load_keys(path, create=False).public] == [*TokenKeys(seeds).public]
    vault = open_vault(path, create=False)
    assert vault.fingerprints == Vault(seeds, path).fingerprints
    assert load_signer(path, create=False).public == Signer(seeds).public


async def test_a_file_is_read_again_when_it_has_changed_and_can_be_used(path: Path) -> None:
    known = [FIRST]

    def write(text: str) -> None:
        path.write_text(text)

    def read_again() -> None:
        found = path.read_text()
        if found == "x":
            raise InvalidConfiguration("It is none.", "x")
        known.append(found)

    async def until(count: int) -> None:
        while len(known) < count:
            await asyncio.sleep(0.01)

    changes: list[int] = []
    files = KeyFiles(
        [KeyFile(path, read_again)], lambda: changes.append(len(known)), look_every=0.01
    )
    running = asyncio.create_task(files.run())
    try:
        async with asyncio.timeout(30):
            rotate(path, "The key")
            await until(2)
            with capture_logs() as logs:
                write("x")
                while not any(each["event"] == "keys not read again" for each in logs):
                    await asyncio.sleep(0.01)
            write(FIRST)
            await until(3)
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert len(known[1].splitlines()) == 2
    assert known[2] == FIRST
    assert changes == [2, 3]


async def test_a_file_that_was_refused_as_open_to_others_is_read_again_once_it_is_closed(
    path: Path,
) -> None:
    known: list[str] = []

    def read_again() -> None:
        if path.stat().st_mode & 0o004:
            raise InvalidConfiguration("It is open to others.", "chmod 600")
        known.append(path.read_text())

    def copy_open_to_others() -> None:
        path.chmod(0o644)
        path.write_text(f"{FIRST}\n{FIRST}\n")

    def close() -> None:
        path.chmod(0o600)

    running = asyncio.create_task(KeyFiles([KeyFile(path, read_again)], look_every=0.01).run())
    try:
        async with asyncio.timeout(30):
            with capture_logs() as logs:
                copy_open_to_others()
                while not any(each["event"] == "keys not read again" for each in logs):
                    await asyncio.sleep(0.01)
            assert known == []
            close()
            while not known:
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert known == [f"{FIRST}\n{FIRST}\n"]


async def test_a_file_whose_reading_fails_is_read_again_though_it_stays_the_same_and_said_once(
    path: Path,
) -> None:
    tries = 0

    def read_again() -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise InvalidConfiguration("It can't be read.", "too many open files")

    files = KeyFiles([KeyFile(path, read_again)], look_every=0.001)
    rotate(path, "The key")
    with capture_logs() as logs:
        await _until_read(files, logs)
    assert [each["event"] for each in logs] == ["keys not read again", "keys read again"]


async def test_a_file_that_can_not_be_opened_is_said_once_and_read_when_it_can(path: Path) -> None:
    files = KeyFiles([KeyFile(path, lambda: None)], look_every=0.001)

    def take_away() -> None:
        path.unlink()
        path.mkdir()  # root opens whatever it likes but this

    def put_back() -> None:
        path.rmdir()
        path.write_text(f"next {FIRST}")

    take_away()
    with capture_logs() as logs:
        asyncio.get_running_loop().call_later(0.05, put_back)
        await _until_read(files, logs)
    assert [each["event"] for each in logs] == ["keys not read again", "keys read again"]
    assert "Is a directory" in logs[0]["reason"]


async def _until_read(files: KeyFiles, logs: Sequence[Mapping[str, Any]]) -> None:
    """Have files looked at until one has been read again."""
    running = asyncio.create_task(files.run())
    try:
        async with asyncio.timeout(20):
            while not any(each["event"] == "keys read again" for each in logs):
                await asyncio.sleep(0.001)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_a_file_stays_readable_for_whom_it_was_given_to(path: Path) -> None:
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    before = path.stat()
    rotate(path, "The key")
    after = path.stat()
    assert after.st_ino != before.st_ino
    for each in (before, after):
        assert stat.S_IMODE(each.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
