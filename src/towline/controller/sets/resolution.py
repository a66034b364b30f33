"""What a tag names now: asked of a node of the set's target that is here, as a dry run does.

So nothing is asked of a registry but what a pull would ask of it, from where pulls ask it, with the
credentials and the cooldown that they have.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import structlog

from towline.broker.repeated import Repeated
from towline.controller.jobs.previews import ASKED_FOR, Previews
from towline.controller.jobs.submission import Submission
from towline.controller.moment import LocalClock
from towline.controller.permissions import Bounds
from towline.controller.sets.changes import Answer, Changes, resolved
from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.controller.sets.standing import Node, images, obstacle_of, parameters_of
from towline.errors import NotFound, TowlineError
from towline.operations.docker import pull
from towline.wire.reference import Reference
from towline.wire.target import Hostname
from towline.wire.text import quoted

log = structlog.get_logger()

AGAIN_AFTER, AGAIN_AT_MOST = 10.0, 300.0
"""Seconds before a tag is looked up again that could not be: at first, doubled each time, at most.
"""
MOST_ASKED = 3
"""Nodes that are asked one after the other, where one can't say."""
AT_ONCE = 8
"""Images that are asked for at a time: each is a question to a registry."""
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
"""What a node may say that a tag names: registries know images by nothing else."""
CANNOT = "HTTP status 404: Not Found"
"""What a node says whose engine has no way to ask a registry, as Podman's: one pulls the tag then.
"""
NOBODY = "no node that the set means is here and could ask the registry"


def is_due(record: SetRecord, image: ImageState, now: float) -> bool:
    """Return whether it is to be found out what the tag of an image names.

    What was looked up later than it is now was so by a clock that was wrong.

    Args:
        now: seconds since 1970.
    """
    if (given := _given(image)) is not None:
        return given not in (image.current, image.next)
    if image.checked is None or image.checked < record.changed:
        return True
    due = image.checked + record.every
    return record.follow == "tag" and not due - record.every <= now < due


_Said: TypeAlias = tuple[int, float | None]
"""Which generation of a set was declared, and when people have last said that it is to go on."""


class Resolution:
    """Looks up what the tags of sets name, and has that noted.

    Args:
        pull: has a node pull a tag; returns the digest, or "" and why that is not known.
        note: stores a change of a set's state, by the set's name.
        leads: returns whether this controller is still the one to do so.
        clock: this machine's clocks.
        looked_up: called when something has been noted, or is to be looked at again.
    """

    def __init__(
        self,
        previews: Previews,
        pull: Callable[[SetRecord, ImageState, str], Awaitable[tuple[str, str]]],
        note: Callable[[str, Changes], Awaitable[object]],
        leads: Callable[[], bool],
        clock: LocalClock,
        looked_up: Callable[[], None],
    ) -> None:
        self._previews = previews
        self._pull = pull
        self._note = note
        self._leads = leads
        self._clock = clock
        self._looked_up = looked_up
        self._places = asyncio.Semaphore(AT_ONCE)
        self._pauses: dict[str, tuple[_Said, dict[tuple[str, str], tuple[float, float]]]] = {}
        """By set, of its generation, for each image: until when its tag isn't looked up again, in
        seconds since the machine was started, and the pause before that."""
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._failures = Repeated("tag not looked up")

    async def stop(self) -> None:
        """Ask no more."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        self._failures.close()

    def begin(
        self,
        record: SetRecord,
        state: SetState,
        nodes: Callable[[], Sequence[Node]],
        *,
        window: bool,
    ) -> float | None:
        """Look up what is due of a set's images, beside all else: it may take seconds.

        Args:
            nodes: returns those that the set means.
            window: whether the set's window is open.

        Returns:
            in how many seconds there will be more to look up; None for not by time alone.
        """
        if record.id in self._asking:
            return None
        wall, running = self._clock.wall(), self._clock.running()
        due, waits = [], []
        for image in images(record, state):
            until, _ = self._pauses_of(record, state).get(_key(image), (0.0, 0.0))
            if not is_due(record, image, wall):
                if record.follow == "tag" and image.checked is not None:
                    waits.append(image.checked + record.every - wall)
            elif until > running:
                waits.append(until - running)
            else:
                due.append(image)
        able = [node for node in nodes() if not obstacle_of(node)] if due else []
        if not able:
            # Whoever comes that can be asked is a change, at which this is called.
            due = [each for each in due if _given(each)]
        if due:
            looking = self._look_up(record, due, able, window=window)
            task = asyncio.create_task(looking, name=record.id)
            self._asking[record.id] = task
            task.add_done_callback(self._over)
        return min(waits, default=None)

    def _pauses_of(
        self, record: SetRecord, state: SetState
    ) -> dict[tuple[str, str], tuple[float, float]]:
        """Return the pauses of a set: what people declare anew is looked up at once."""
        said = (record.generation, state.renewed)
        before, found = self._pauses.get(record.id, ((0, None), {}))
        if before != said:
            found = {}
            self._pauses[record.id] = (said, found)
        return found

    def _over(self, task: asyncio.Task[None]) -> None:
        self._asking.pop(task.get_name(), None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("looking up broke off", set=task.get_name(), exc_info=error)
        self._looked_up()

    async def _look_up(
        self,
        record: SetRecord,
        due: Sequence[ImageState],
        able: Sequence[Node],
        *,
        window: bool,
    ) -> None:
        news, begun = [], self._clock.wall()
        _, pauses = self._pauses[record.id]
        for image in due:
            # Whatever goes wrong below goes wrong no sooner again.
            _, before = pauses.get(_key(image), (0.0, AGAIN_AFTER / 2))
            pauses[_key(image)] = (self._clock.running() + AGAIN_AFTER, before)
        answers = await self.ask(record, due, able, window=window)
        for image, answer in zip(due, answers, strict=True):
            if answer.digest or answer.problem not in (image.problem, NOBODY):
                # That nobody is there to be asked is nothing to be alarmed by.
                news.append(answer)
            pause = AGAIN_AFTER
            if not answer.digest and answer.problem != NOBODY:
                _, before = pauses.get(_key(image), (0.0, AGAIN_AFTER / 2))
                pause = min(2 * before, AGAIN_AT_MOST, max(record.every, AGAIN_AFTER))
            elif not answer.digest:
                pause = 0.0  # nobody was asked: whoever comes is
            # Also what was found out: by clocks that differ it may be due for ever.
            until = self._clock.running() + pause * random.uniform(0.8, 1.0)
            pauses[_key(image)] = (until, AGAIN_AFTER / 2 if answer.digest else pause)
        try:
            if news and self._leads():
                found = resolved(record, news, self._clock.wall(), begun)
                await self._note(record.name, found)
        except NotFound:
            log.info("set removed while its tags were looked up", set=record.name)
        except TowlineError as error:
            self._failures.warning(set=record.name, reason=f"{error.error} {error.details}")

    async def ask(
        self,
        record: SetRecord,
        wanted: Sequence[ImageState],
        nodes: Sequence[Node],
        *,
        window: bool = True,
    ) -> list[Answer]:
        """Return what some images of a set are now, each with why not where that is not known.

        Args:
            nodes: those that the set means, and that could ask.
            window: whether the set's window is open.
        """
        asked = (self._one(record, each, nodes, window=window) for each in wanted)
        return list(await asyncio.gather(*asked))

    async def _one(
        self, record: SetRecord, image: ImageState, nodes: Sequence[Node], *, window: bool
    ) -> Answer:
        digest, problem = _given(image) or "", NOBODY
        unable = []
        for node in () if digest else random.sample(nodes, min(MOST_ASKED, len(nodes))):
            async with self._places:
                digest, why = await self.of(record, image, node)
            if digest:
                break
            if why == CANNOT:
                unable.append(node.machine)
            problem = f"{node.hostname}: {why}"
        if unable and not digest and (window or not image.current):
            async with self._places:
                digest, problem = _told(*await self._pull(record, image, min(unable)))
        return Answer(image.image, image.platform, digest, "" if digest else problem)

    async def of(self, record: SetRecord, image: ImageState, node: Node) -> tuple[str, str]:
        """Return the digest that a node says, or why it says none."""
        request = Submission(
            *(pull, parameters_of(image), Hostname(node.machine), record.caller),
            Bounds(record.caller, pull.permission, None),
        )
        try:
            forecast = await self._previews.foresee(request, wait=ASKED_FOR)
        except TowlineError as error:
            return "", error.error
        for each in forecast.nodes:
            digest = (each.plan or {}).get("digest")
            if digest:
                return _told(str(digest), "")
            unresolved = (each.plan or {}).get("unresolved")
            return "", str(unresolved or each.reason or each.not_told or "it said nothing")
        return "", "it takes no work"


def _told(digest: str, problem: str) -> tuple[str, str]:
    """Return what a node says a tag names, where that is a digest: it is kept for all nodes."""
    if digest and not DIGEST.fullmatch(digest):
        return "", f"it said {quoted(digest)}, which is no digest"
    return digest, problem


def _given(image: ImageState) -> str | None:
    """Return the digest that was given with an image: there is nothing to look up."""
    return Reference.parse(image.image).digest


def _key(image: ImageState) -> tuple[str, str]:
    return image.image, image.platform
