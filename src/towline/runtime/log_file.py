"""A file that logs go to where a person has the terminal: bounded, and for its owner alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

from towline.errors import InvalidConfiguration

LARGEST = 10 * 1024 * 1024
"""Bytes of the file, before it is moved away and another is begun."""
KEPT = 3
"""How many that were moved away are kept: `up.log.1` is the newest of them."""
LONGEST_LINE = 256 * 1024
"""Bytes without an end of line that are kept in memory: more is written as lines of its own."""
REST_WITHIN = 1.0
"""Seconds for the rest of what a program has written, after its end: what it has started itself may
have the pipe open for longer."""


class _Handler(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Lose a line that can't be written: a full disk must end no service."""

    def _open(self) -> object:  # type: ignore[override]
        file = super()._open()
        os.fchmod(file.fileno(), 0o600)
        return file


class LogFile:
    """A file of lines. A line that can't be written is lost.

    Args:
        path: where it is; those before it stand beside it, `.1` being the newest.
        largest, kept: see the constants.

    Raises:
        InvalidConfiguration: it can't be opened.
    """

    def __init__(self, path: Path, *, largest: int = LARGEST, kept: int = KEPT) -> None:
        self.path = path
        try:
            self._handler = _Handler(
                path, maxBytes=largest, backupCount=kept, errors="backslashreplace"
            )
        except OSError as error:
            raise InvalidConfiguration(
                f"The log {str(path)!r} can't be written.", f"{error}; --verbose needs none"
            ) from error

    def write(self, line: bytes) -> None:
        """Write a line; from any thread."""
        text = line.decode(errors="backslashreplace")
        self._handler.handle(logging.makeLogRecord({"msg": text}))

    async def copy(self, output: asyncio.StreamReader, words: list[str]) -> None:
        """Write all that a program prints, until nobody has its output open any more.

        Args:
            words: is filled with the latest line that is no log: why the program ended, in words.
        """
        rest = b""
        while found := await output.read(65536):
            *lines, rest = (rest + found).split(b"\n")
            if len(rest) > LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._take(line, words)
        if rest:
            self._take(rest, words)

    def _take(self, line: bytes, words: list[str]) -> None:
        self.write(line)
        if line.strip() and not line.startswith((b"{", b" ")):
            words[:] = [line.decode(errors="backslashreplace").strip()]

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


async def finished(copying: asyncio.Task[None]) -> None:
    """Wait for the rest of what a program that has ended has printed, and end the copying."""
    await asyncio.wait([copying], timeout=REST_WITHIN)
    copying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await copying
