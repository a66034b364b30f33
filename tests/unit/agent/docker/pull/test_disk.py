"""Where an engine keeps images, and what follows from the room there."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from towline.agent.docker.answers import Containerd, Info
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import Hopeless
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.attempt import Attempt
from towline.agent.docker.pull.disk import LOOK_EVERY, Room, coming
from towline.agent.docker.pull.order import Order
from towline.units import parse_share
from towline.wire.progress import DONE, DOWNLOADED, DOWNLOADING, EXTRACTING, PRESENT, WAITING, Part
from towline.wire.reference import Reference


class ReportingEngine(Engine):
    """A Docker Engine of which only what it says of itself is known."""

    def __init__(self, info: Info, url: str = "unix:///nowhere") -> None:
        super().__init__(url)
        self._info = info

    async def info(self) -> Info:
        return self._info


def attempt(*messages: dict[str, Any]) -> Attempt:
    """Return an attempt of which the engine has reported so much."""
    made = Attempt(Order(Reference.parse("a/b")), 1, lambda _: None)
    for message in messages:
        made.layers.apply(message, 0.0)
    return made


def downloading(layer: str, current: int, total: int) -> dict[str, Any]:
    detail = {"current": current, "total": total}
    return {"id": layer, "status": "Downloading", "progressDetail": detail}


def free(path: Path) -> int:
    figures = os.statvfs(path)
    return figures.f_bavail * figures.f_frsize


async def test_a_pull_begins_only_where_enough_is_free(tmp_path: Path) -> None:
    engine = ReportingEngine(Info(str(tmp_path)))
    await Room(engine, parse_share("0")).before(attempt())
    words = rf"no room on the disk: [^,]+ are free in {tmp_path}, and 1.00 PiB are to stay free"
    with pytest.raises(Hopeless, match=words) as refused:
        await Room(engine, parse_share("1PiB")).before(attempt())
    assert refused.value.kind is Kind.UNSTORABLE
    with pytest.raises(Hopeless):
        await Room(engine, parse_share("100%")).before(attempt())


async def test_a_pull_ends_once_what_is_to_come_would_not_leave_enough(tmp_path: Path) -> None:
    room = Room(ReportingEngine(Info(str(tmp_path))), parse_share("0"))
    large = attempt(downloading("a", 1024, free(tmp_path)), downloading("b", 0, 1024**4))
    await room.before(large)
    with pytest.raises(Hopeless, match=r": \d\.\d\d TiB are yet to be written, "):
        await room.watch(large)


async def test_a_pull_that_fits_is_watched_without_end(tmp_path: Path) -> None:
    room = Room(ReportingEngine(Info(str(tmp_path))), parse_share("0"))
    little = attempt(downloading("a", 10, 1024))
    await room.before(little)
    watching = asyncio.create_task(room.watch(little))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2 * LOOK_EVERY):
            await watching


@pytest.mark.parametrize(
    ("layers", "kept", "removed"),
    [
        ([], 0, 0),
        ([Part("a", PRESENT), Part("b", DONE, 50, 50, 50)], 0, 0),
        # Nothing of it is there: archive and contents.
        ([Part("a", WAITING, 0, 50)], 100, 100),
        ([Part("a", DOWNLOADING, 20, 50)], 80, 80),
        ([Part("a", DOWNLOADED, 50, 50), Part("b", DOWNLOADING, 20, 30)], 90, 40),
        ([Part("a", EXTRACTING, 50, 50, 40), Part("b", DOWNLOADED, 30, 30)], 40, 30),
        # Of a layer whose size is not reported yet nothing is known.
        ([Part("a", WAITING), Part("b", DOWNLOADING, 7)], 0, 0),
    ],
)
def test_what_is_to_come_is_archives_and_contents(
    layers: list[Part], kept: int, removed: int
) -> None:
    assert coming(layers, archives=True) == kept
    assert coming(layers, archives=False) == removed


@pytest.mark.parametrize(
    ("info", "url"),
    [
        (Info("/nowhere/at/all"), "unix:///nowhere"),
        (Info(), "unix:///nowhere"),
        (Info("/"), "tcp://127.0.0.1:2375"),
        (Info("/"), "http://127.0.0.1:2375"),
    ],
)
async def test_a_disk_that_cannot_be_seen_is_not_guessed(info: Info, url: str) -> None:
    room = Room(ReportingEngine(info, url), parse_share("1PiB"))
    large = attempt(downloading("a", 0, 1024**6))
    await room.before(large)
    await room.watch(large)


async def test_of_two_disks_the_tighter_counts(tmp_path: Path) -> None:
    """With the containerd store: the engine's own and that of its containerd."""
    tight = Path("/dev/shm")
    if free(tight) >= free(tmp_path):
        pytest.skip("no tighter disk here")
    info = Info(
        str(tight),
        [["driver-type", "io.containerd.snapshotter.v1"]],
        Containerd(str(tmp_path / "no.sock")),
    )
    room = Room(ReportingEngine(info), parse_share(f"{(free(tight) + free(tmp_path)) // 2}"))
    with pytest.raises(Hopeless, match=f"are free in {tight}"):
        await room.before(attempt())
