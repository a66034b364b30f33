"""A Docker Engine on a disk that tests fill."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.testing.engine import Engine, EngineKind

MIB = 1024**2
DISK = 64 * MIB
KEPT = 32 * MIB
"""What agents of such engines are told to keep free, in bytes: see `ROOM`."""
ROOM = {"TOWLINE_MIN_FREE": "32MiB"}


class SmallEngine(Engine):
    """A Docker Engine that keeps its images on a disk of 64 MiB."""

    @property
    def images_on(self) -> Path:
        """The directory, a file system of its own."""
        below = "data" if self.kind is EngineKind.CLASSIC else "cd/root"
        return self.directory / below

    def start(self) -> None:
        disk = self.directory / "disk"
        with disk.open("wb") as file:
            file.truncate(DISK)
        self.images_on.mkdir(parents=True)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
        subprocess.run(["mount", "-o", "loop", disk, self.images_on], check=True)
        super().start()

    def free(self) -> int:
        """Return how many bytes of the disk are free."""
        figures = os.statvfs(self.images_on)
        return figures.f_bavail * figures.f_frsize

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Have a little less free than what is to stay so."""
        filler = self.images_on / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free() - KEPT + MIB)
        try:
            yield
        finally:
            filler.unlink()
