"""What images a node has: its engine is listened to, and looked at when something has happened."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from towline.agent.docker.answers import Happening, ListedImage
from towline.agent.docker.engine import Engine
from towline.agent.docker.held import difference, full_id, held, platform_of, whole
from towline.errors import TaskFailed
from towline.runtime.pauses import Pauses, within
from towline.wire.inventory import ImageHeld, Inventory, hash_of
from towline.wire.platform import Platform

log = structlog.get_logger()

EVERY = 3600.0
"""Seconds after which an engine is looked at though nothing has happened to its knowledge: an event
may be lost, and some engines tell of none."""
ASKED_AT_ONCE = 4
"""Images of which an engine is asked at a time what they are for."""
USES = frozenset({"create", "destroy", "remove", "commit", "prune"})
"""What happens to containers that makes another use an image, or none. Health checks alone make
events by the dozen a minute. `remove` is Podman's word for `destroy`."""
PASSED_OVER = frozenset({"save", "mount", "unmount"})
"""What happens to images and leaves them as they are."""


class Rhythm(msgspec.Struct, frozen=True):
    """When an engine is looked at, and listened to again.

    Attributes:
        quiet: seconds without an event before it is looked at.
        longest: seconds after the first event when it is looked at, quiet or not: a change is to be
            known at every controller within 3 s.
        every: see the constant.
        rest: how much longer than it took for its lists the last two times, or the shorter of them,
            it is left alone after a look: an engine that takes a second for them each time, and not
            only when it was just started, is not busy with them all the time.
        longest_rest: seconds after which it is left alone no longer: by then it is looked at for
            whatever has happened since, and a pull that ended is not long unknown.
        shortest_pause, longest_pause: seconds between attempts to listen to it, or to look at one
            that doesn't answer; the first bound, and the last.
        steady: seconds after which listening counts as having worked: then it begins with the
            shortest pause again. What stands between may end it whenever nothing has happened for
            a minute.
    """

    quiet: float = 1.0
    longest: float = 2.0
    every: float = EVERY
    rest: float = 4.0
    longest_rest: float = 1.0
    shortest_pause: float = 1.0
    longest_pause: float = 300.0
    steady: float = 10.0


class EngineInventory:
    """What images an engine has; see `towline.agent.provider.HeldInventory`.

    Attributes:
        hash: of the whole; "" before the engine was looked at once. While it doesn't answer all
            that was known stays.

    Args:
        start: what the agent has drawn at this start.
        rhythm: see there.
    """

    def __init__(self, engine: Engine, start: str, rhythm: Rhythm | None = None) -> None:
        self.hash = ""
        self._engine = engine
        self._start = start
        self._rhythm = rhythm or Rhythm()
        self._images: dict[str, ImageHeld] = {}
        self._platforms: dict[str, Platform] = {}
        """What images are for, by id, where the engine's list doesn't say it."""
        self._due = asyncio.Event()
        self._first = self._last = 0.0
        """When something has happened since the last look, by the event loop's clock."""
        self._took = (0.0, 0.0)
        """Seconds that the engine took for its lists, the last two times."""
        self._again = asyncio.Event()
        self._listening: asyncio.Timeout | None = None

    def whole(self) -> list[Inventory]:
        """Return the messages with all that is known; none before the engine was looked at."""
        return whole(self._start, self._images, self.hash) if self.hash else []

    def due(self) -> None:
        """Look at the engine soon: something may have changed."""
        self._last = asyncio.get_running_loop().time()
        if not self._due.is_set():
            self._first = self._last
            self._due.set()

    def listen_again(self) -> None:
        """Listen to the engine anew: it was away."""
        self._again.set()
        if self._listening is not None and not self._listening.expired():
            # Over a network nothing says that an engine is gone; its events would never end.
            self._listening.reschedule(asyncio.get_running_loop().time())

    async def follow(self, changed: Callable[[Inventory], Awaitable[None]]) -> None:
        """Find out what the engine has, for ever.

        Args:
            changed: awaited with each message about what is new; first with all of the whole.
        """
        self.due()
        self._first = 0.0  # at once
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._look_when_due(changed))

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        pauses = Pauses(self._rhythm.shortest_pause, self._rhythm.longest_pause)
        while True:
            self._again.clear()
            begun = loop.time()
            try:
                async with asyncio.timeout(None) as self._listening:
                    await self._hear()
                reason = "it ended them"
            except TimeoutError:
                reason = "it was away"
            except TaskFailed as error:
                reason = error.error
            finally:
                self._listening = None
            log.debug("events of the engine not followed", reason=reason)
            if loop.time() - begun >= self._rhythm.steady:
                pauses.reset()
            await within(pauses.next() - loop.time(), self._again.wait())

    async def _hear(self) -> None:
        async with self._engine.happenings() as happenings:
            # Nobody has listened until now.
            self.due()
            async for each in happenings:
                if _changes_something(each):
                    self.due()

    async def _look_when_due(self, changed: Callable[[Inventory], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        pauses = Pauses(self._rhythm.shortest_pause, self._rhythm.longest_pause)
        while True:
            # Nodes that were started together need not look together for ever.
            await within(random.uniform(0.9, 1.0) * self._rhythm.every, self._due.wait())
            await self._quiet()
            self._due.clear()
            try:
                await self._look(changed)
                pauses.reset()
                rest = self._rhythm.rest * min(self._took)
                await asyncio.sleep(min(rest, self._rhythm.longest_rest))
            except TaskFailed as error:
                log.debug("images of the engine not known", reason=error.error)
                await within(pauses.next() - loop.time(), self._due.wait())
                self.due()

    async def _quiet(self) -> None:
        """Wait until nothing has happened for a while, or for long enough."""
        loop = asyncio.get_running_loop()
        while True:
            quiet_at = min(self._last + self._rhythm.quiet, self._first + self._rhythm.longest)
            if quiet_at <= loop.time():
                return
            await asyncio.sleep(quiet_at - loop.time())

    async def _look(self, changed: Callable[[Inventory], Awaitable[None]]) -> None:
        begun = asyncio.get_running_loop().time()
        listed = await self._engine.images()
        used = await self._engine.image_users()
        self._took = (self._took[1], asyncio.get_running_loop().time() - begun)
        preferred = self._engine.platform
        await self._ask_platforms(listed, preferred)
        found = held(listed, used, self._platforms, preferred)
        if self.hash and found == self._images:
            return
        hash = hash_of(found.values())
        messages = difference(self._start, self._images, self.hash, found, hash)
        self._images, self.hash = found, hash
        for message in messages:
            await changed(message)

    async def _ask_platforms(self, listed: list[ListedImage], preferred: Platform | None) -> None:
        """Ask what those are for of which the list doesn't say it: an id is always for the same."""
        unsaid = {full_id(each.id) for each in listed if platform_of(each, preferred) is None}
        self._platforms = {id: each for id, each in self._platforms.items() if id in unsaid}
        gate = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(id: str) -> None:
            async with gate:
                try:
                    image = await self._engine.image(id)
                except TaskFailed as error:
                    log.debug("image not known", image=id, reason=error.error)
                    return
            if image is not None and image.os:
                self._platforms[id] = image.platform

        await asyncio.gather(*(ask(id) for id in unsaid - self._platforms.keys()))


def _changes_something(happening: Happening) -> bool:
    if happening.type == "container":
        return happening.action in USES
    return happening.action not in PASSED_OVER
