"""Room on the disk: what is free where an engine keeps images, against what a pull brings."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from towline.agent.docker.answers import Info
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import Hopeless
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.errors import TaskFailed
from towline.units import Share, parse_share, show_size
from towline.wire.progress import DONE, PRESENT, Part

log = structlog.get_logger()

MIN_FREE = parse_share("1GiB,5%")
"""What is kept free unless configured."""
LOOK_EVERY = 0.25
"""Seconds between looks at the disk during a pull. A fast disk takes some 2 GB/s: what is kept free
unless configured is then two looks away from none."""
KNOWN_FOR = 60.0
"""Seconds for which an engine's answer where it keeps images counts: it takes 10 ms to ask, and the
directory changes with a restart of the engine only."""

_SNAPSHOTTER = "io.containerd.snapshotter"
"""What an engine with the containerd image store says of its driver."""
_DATABASE = "/io.containerd.metadata.v1.bolt/meta.db"
_ROOT = re.compile(r"""^root\s*=\s*['"](/[^'"]+)['"]""", re.MULTILINE)


class Disk(msgspec.Struct, frozen=True):
    """A file system that an engine keeps images on.

    Attributes:
        path: what the engine keeps there.
        total, free: bytes; `free` is what processes that are not root may use.
    """

    path: str
    total: int
    free: int


class _Directory(msgspec.Struct, frozen=True):
    """A directory of an engine.

    Attributes:
        images: whether images come to lie there.
        archives: whether the layers' archives stay there, too, once they are unpacked.
    """

    path: str
    images: bool = True
    archives: bool = False


class Room(Hook):
    """The room on the disks of one Docker Engine.

    An engine that answers over a network keeps its images on disks that can't be seen from here:
    it has any room. So has one whose directories aren't there, since it runs in a container or a
    virtual machine, and one that doesn't say where they are.

    Args:
        keep: how much of each disk is left free.
    """

    def __init__(self, engine: Engine, keep: Share = MIN_FREE) -> None:
        self._engine = engine
        self._keep = keep
        self._directories: list[_Directory] = []
        self._asked = -KNOWN_FOR
        self._unseen = ""

    async def before(self, attempt: Attempt) -> None:
        """Refuse a pull for which the room would not do, whatever it brings.

        Raises:
            Hopeless: with the figures.
        """
        for directory in await self._known():
            await self._check(directory, 0)

    async def look(self) -> tuple[Disk, int] | None:
        """Return the disk that images come to lie on, and bytes of it that are left free.

        None where it can't be seen from here.
        """
        for directory in await self._known():
            if directory.images:
                disk = await asyncio.to_thread(_disk, directory.path)
                return None if disk is None else (disk, self._keep.of(disk.total))
        return None

    async def watch(self, attempt: Attempt) -> None:
        """Compare the sizes that the engine announces with what is free, again and again.

        Raises:
            Hopeless: the rest of the pull doesn't fit any more; with the figures.
        """
        directories = self._directories
        while directories:
            await asyncio.sleep(LOOK_EVERY)
            layers = attempt.layers.all()
            for directory in directories:
                more = coming(layers, archives=directory.archives) if directory.images else 0
                await self._check(directory, more)

    async def _check(self, directory: _Directory, coming: int) -> None:
        # In a thread: a disk that hangs, as those on a network do, delays nothing else.
        disk = await asyncio.to_thread(_disk, directory.path)
        if disk is None:
            return
        kept = self._keep.of(disk.total)
        if disk.free - coming < kept:
            figures = f"{show_size(disk.free)} of {show_size(disk.total)} are free in {disk.path}"
            if coming:
                figures = f"{show_size(coming)} are yet to be written, {figures}"
            raise Hopeless(
                f"no room on the disk: {figures}, and {show_size(kept)} are to stay free "
                "(min-free)",
                Kind.UNSTORABLE,
            )

    async def _known(self) -> list[_Directory]:
        """Return where the engine keeps images."""
        now = time.monotonic()
        if now - self._asked >= KNOWN_FOR:
            self._directories = await self._find()
            self._asked = now
        return self._directories

    async def _find(self) -> list[_Directory]:
        if not self._engine.url.startswith("unix:"):
            self._warn(f"the engine at {self._engine.url} may be on another machine")
            return []
        try:
            info = await self._engine.info()
        except TaskFailed as error:
            self._warn(error.error)
            return []
        directories = await asyncio.to_thread(_find_directories, info)
        if directories:
            self._unseen = ""
        else:
            self._warn(f"{info.docker_root_dir!r} is not there")
        return directories

    def _warn(self, reason: str) -> None:
        if reason != self._unseen:
            log.warning("room on the engine's disk not known", reason=reason)
            self._unseen = reason


def coming(layers: Iterable[Part], *, archives: bool) -> int:
    """Return how many bytes are yet to be written for layers, at least.

    Unpacked, a layer takes as much as its archive at least. How much more is not known.

    Args:
        archives: whether the archives stay when they are unpacked; otherwise each is then removed.
    """
    packed = [layer for layer in layers if layer.state not in (DONE, PRESENT)]
    fetch = sum(max(0, layer.size - layer.fetched) for layer in packed)
    unpack = [max(0, layer.size - layer.extracted) for layer in packed]
    # Where they don't stay, an archive and what is unpacked of it are there both at a time, at
    # least of the last one to be unpacked; but for that what is unpacked takes the archive's place.
    return fetch + (sum(unpack) if archives else unpack[-1] if unpack else 0)


def _find_directories(info: Info) -> list[_Directory]:
    """Return where an engine that says this of itself keeps images, as far as that is here."""
    root = info.docker_root_dir
    if info.driver.get("driver-type", "").startswith(_SNAPSHOTTER):
        address = info.containerd.address if info.containerd is not None else ""
        images = _Directory(_containerd_root(address), archives=True)
        found = [images, _Directory(root, images=False)]
    else:
        found = [_Directory(root)]
    return [each for each in found if each.path and Path(each.path).is_dir()]


def _containerd_root(address: str) -> str:
    """Return the directory in which the containerd at a socket keeps images, or "".

    It says so by gRPC alone; but its process has its database open all the time.
    Where that may not be seen, it is what its configuration says, or where it is by default.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(address)
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        process, _, _ = struct.unpack("3i", credentials)
        for file in Path(f"/proc/{process}/fd").iterdir():
            opened = os.readlink(file)
            if opened.endswith(_DATABASE):
                return opened.removesuffix(_DATABASE)
    except (OSError, ValueError):
        pass  # gone, of another user, or in another container: then as it is configured
    try:
        configured = _ROOT.search(Path("/etc/containerd/config.toml").read_text())
    except (OSError, UnicodeDecodeError):
        configured = None
    return configured[1] if configured else "/var/lib/containerd"


def _disk(path: str) -> Disk | None:
    try:
        figures = os.statvfs(path)
    except OSError as error:
        log.warning("room on the engine's disk not known", path=path, reason=str(error))
        return None
    unit = figures.f_frsize
    return Disk(path, figures.f_blocks * unit, figures.f_bavail * unit)
