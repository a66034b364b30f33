"""A disk that loses whatever was not synced when the power is cut."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path


class Disk:
    """What of a directory is safe: contents as of the last sync, names as of the directory's.

    Parameters: `root` is the directory, which counts as safe itself.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {root.stat().st_ino: {}}

    def sync(self, descriptor: int) -> None:
        """Make what a descriptor stands for safe."""
        status = os.fstat(descriptor)
        path = f"/proc/self/fd/{descriptor}"
        if stat.S_ISDIR(status.st_mode):
            entries = {name: os.stat(f"{path}/{name}").st_ino for name in os.listdir(path)}
            self._names[status.st_ino] = entries
        else:
            self._contents[status.st_ino] = Path(path).read_bytes()

    def after_a_power_cut(self) -> dict[str, str]:
        """Return what files there are then, by their paths below the root, and their contents."""
        return dict(self._below(self.root.stat().st_ino, ""))

    def _below(self, inode: int, path: str) -> Iterator[tuple[str, str]]:
        for name, number in self._names[inode].items():
            if number in self._names:
                yield from self._below(number, f"{path}{name}/")
            else:
                yield path + name, self._contents.get(number, b"").decode()
