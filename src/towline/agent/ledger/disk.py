"""The disk that the ledger is on: whether it takes anything at this moment."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor
from pathlib import Path

ROOM = 256 * 1024
"""Bytes that must be free on the disk for the ledger to count as writable."""


class Disk:
    """A disk, looked at by way of a file beside the ledger.

    Attributes:
        failed: whether something could not be written since it was last tried.

    Args:
        path: the file; it is made and removed.
        thread: what tries the disk.
    """

    def __init__(self, path: Path, thread: Executor) -> None:
        self._path = path
        self._thread = thread
        self.failed = False

    async def trouble(self) -> str:
        """Return why it takes no more at this moment, or ""."""
        # What a file system says is cheap; what it then does is tried only once it has failed.
        if not self.failed and self._says_room():
            return ""
        trouble = await asyncio.get_running_loop().run_in_executor(self._thread, self._try)
        self.failed = bool(trouble)
        return trouble

    def _says_room(self) -> bool:
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize >= ROOM and not disk.f_flag & os.ST_RDONLY

    def _try(self) -> str:
        try:
            try:
                with self._path.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, ROOM)
            finally:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            return f"the ledger can't be written: {error.strerror}"
        return ""
