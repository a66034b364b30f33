"""The file that the logs of `towline up` go to where a person has the terminal."""

import asyncio
import errno
import stat
from pathlib import Path

import pytest

from towline.errors import InvalidConfiguration
from towline.runtime import log_file
from towline.runtime.log_file import LogFile


def test_it_is_bounded_and_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "up.log"
    path.touch(0o644)
    file = LogFile(path, largest=100, kept=2)
    for number in range(100):
        file.write(b"line %d" % number)
    file.close()
    assert path.read_text().splitlines()[-1] == "line 99"
    found = sorted(each.name for each in tmp_path.iterdir())
    assert found == ["up.log", "up.log.1", "up.log.2"]
    for each in tmp_path.iterdir():
        assert each.stat().st_size <= 100
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


def test_a_line_that_cannot_be_written_is_lost_and_the_next_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LogFile(tmp_path / "up.log")

    def full(text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(file._handler.stream, "write", full)
        file.write(b"lost")
    file.write(b"kept\xff")
    file.close()
    assert (tmp_path / "up.log").read_text() == "kept\\xff\n"


def test_where_it_cannot_be_opened_the_error_names_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"'.*nowhere/up.log'"):
        LogFile(tmp_path / "nowhere" / "up.log")


async def copied(file: LogFile, *chunks: bytes) -> list[str]:
    """Copy what a program prints, and return its latest words."""
    output = asyncio.StreamReader()
    words: list[str] = []
    copying = asyncio.create_task(file.copy(output, words))
    for chunk in chunks:
        output.feed_data(chunk)
        await asyncio.sleep(0)
    output.feed_eof()
    await log_file.finished(copying)
    return words


async def test_what_a_program_prints_is_copied_in_lines_and_its_last_words_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "LONGEST_LINE", 20)
    file = LogFile(tmp_path / "up.log")
    assert await copied(file, b'{"event":', b'"a"}\ntowline: No', b' room.\n{"b"', b": 1}\n") == [
        "towline: No room."
    ]
    assert await copied(file, b"x" * 30, b"y\nend") == ["end"]
    file.close()
    assert (tmp_path / "up.log").read_text().splitlines() == [
        *('{"event":"a"}', "towline: No room.", '{"b": 1}', "x" * 30, "y", "end")
    ]


async def test_who_holds_the_output_open_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "REST_WITHIN", 0.01)
    file = LogFile(tmp_path / "up.log")
    copying = asyncio.create_task(file.copy(asyncio.StreamReader(), []))
    await log_file.finished(copying)
    assert copying.cancelled()
    file.close()
