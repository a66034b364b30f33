"""One way to an image: what of it is there, the engine's pull, and what that has left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec

from towline.agent.docker.answers import Image
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import Hopeless, Passing
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull import naming, presence, stall
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.layers import Layers
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.resolution import resolve
from towline.errors import TaskFailed
from towline.operations.docker import Pulled
from towline.wire.platform import Platform
from towline.wire.progress import DOWNLOADING, EXTRACTING, WAITING

T = TypeVar("T")


class Fetching:
    """Brings one engine to have an image, and knows what it had before."""

    def __init__(self, engine: Engine, order: Order, hooks: Sequence[Hook]) -> None:
        self._engine = engine
        self._order = order
        self._hooks = hooks
        self._before: Image | None = None
        self._looked = False
        self._named_before: dict[str, bool] = {}
        """Whether a digest was a name before the engine was asked to pull it."""

    @property
    def _platform(self) -> Platform | None:
        """What the image is to be for; None where the engine doesn't say what its own is."""
        return self._order.platform or self._engine.platform

    async def first_look(self) -> Pulled | None:
        """Look at what is there before any attempt; return it where it is to be left alone.

        Raises:
            TaskFailed: the engine doesn't answer.
        """
        if self._looked:
            # An attempt whose end never reached us may have changed it since.
            return None
        before = self._before = await self._engine.image(self._order.name)
        self._looked = True
        return left_alone(self._order, before, self._engine.platform)

    async def look(self, attempt: Attempt, *, ask: bool) -> Pulled | None:
        """Return what is there where it is what the attempt would bring; None where it may not be.

        Args:
            ask: whether to have the registry asked what a tag is. The engine's pull does that
                anyway, so it is of use only where that would have to wait.

        Raises:
            TaskFailed: the engine doesn't answer.
        """
        digest = self._digest(attempt)
        if digest is None and ask and self._order.leads is None:
            # A node that leads has asked already; what it finds the others pull.
            digest = await resolve(self._engine, attempt)
        if digest is None:
            return None
        present = await self._present(digest)
        if not present.whole or (self._order.reference.digest and not present.named):
            return None
        await self._name(digest, present)
        return await self._end(digest)

    async def fetch(self, attempt: Attempt) -> Pulled:
        """Have the engine pull the image.

        Raises:
            TaskFailed: it could not be pulled; with the engine's own words.
        """
        for hook in self._hooks:
            await hook.before(attempt)
        agreed = self._digest(attempt)
        digest = await self._pull(attempt, agreed)
        if agreed is None:
            for hook in self._hooks:
                await hook.fetched(attempt, digest)
            agreed = self._digest(attempt)
            if agreed is not None and agreed != digest:
                digest = await self._pull(attempt, agreed)
        return await self._end(digest)

    def _digest(self, attempt: Attempt) -> str | None:
        """Return the digest to pull, or None where it is to be the tag."""
        return attempt.lead.value if attempt.lead is not None else self._order.reference.digest

    async def _pull(self, attempt: Attempt, digest: str | None) -> str | None:
        """Pull a digest, and give it the tag; or pull the tag where there is none.

        Returns:
            the digest that the engine has then; None where it doesn't say.
        """
        reference = self._order.reference
        if digest is None or reference.digest is not None:
            found = await self._follow(attempt, digest or reference.tag or "latest")
            return found or digest or await self._named()
        present = await self._present(digest)
        self._named_before[digest] = present.named
        if present.foreign and await self._pull_tag_of(attempt, digest):
            return digest
        await self._follow(attempt, digest)
        await self._name(digest, present)
        return digest

    async def _pull_tag_of(self, attempt: Attempt, digest: str) -> bool:
        """Pull the tag in place of a digest that the engine has for another platform already.

        The classic store gives a digest to one image, and keeps to that.

        Returns:
            whether the tag is that digest still. If not, the digest itself is left, which fails
            unless there is no image of it but the one for the other platform.
        """
        reference = self._order.reference
        if await resolve(self._engine, attempt) not in (None, digest):
            return False
        found = await self._follow(attempt, reference.tag or "latest")
        after = await self._engine.image(self._order.name)
        known = presence.digests(after, reference) if after is not None else set()
        return digest in (found, *known)

    async def _named(self) -> str | None:
        """Return the digest of the image that is there now, where it has just one."""
        found = await self._engine.image(self._order.name)
        return None if found is None else presence.digest(found, self._order.reference)

    async def _present(self, digest: str) -> naming.Present:
        """Return what the engine has of a digest."""
        found = await naming.present(self._engine, self._order.reference, digest, self._platform)
        # A name that is left of an attempt whose end never reached us is none that is to stay.
        named = self._named_before.get(digest, found.named)
        return msgspec.structs.replace(found, named=named)

    async def _name(self, digest: str, present: naming.Present) -> None:
        """Give what is there of a digest the name that is asked for."""
        if self._order.reference.digest is None:
            await naming.give(self._engine, self._order.reference, digest, present)

    async def _end(self, digest: str | None) -> Pulled:
        """Return what is there now.

        Raises:
            TaskFailed: it is not what was asked for.
        """
        order = self._order
        after = await self._engine.image(order.name)
        if after is None:
            raise TaskFailed(f"the Docker Engine reported success, but knows no image {order.name}")
        if order.platform is not None and not presence.could_be_for(after, order.platform):
            raise Hopeless(
                f"{order.name} is for {after.platform} on this node, not for {order.platform}: its "
                "engine passes over what platform an image is to be for (API versions before 1.32 "
                "do), or the image is not for that one",
                Kind.MISSING,
            )
        changed = self._before is None or self._before.content != after.content
        return presence.pulled(order, after, changed=changed, digest=digest)

    async def _follow(self, attempt: Attempt, tag: str) -> str | None:
        """Follow the engine's pull to its end; return the manifest digest that it names."""
        watches = [hook.watch(attempt) for hook in self._hooks]
        return await beside(self._messages(attempt, tag), *watches)

    async def _messages(self, attempt: Attempt, tag: str) -> str | None:
        """Read the engine's messages to the last one; return the manifest digest that one names."""
        digest: str | None = None
        spoke = opened = False
        # Its clocks begin now: before, it has waited for others than the engine.
        layers = attempt.layers = Layers(time.monotonic())
        # Left, or cancelled, it closes the connection, by which the engine breaks the pull off.
        async with aclosing(
            self._engine.pull(
                self._order.reference.repository, tag, attempt.auth, self._order.platform
            )
        ) as messages:
            while (message := await _next(messages, attempt)) is not None:
                for hook in self._hooks:
                    hook.during(attempt, message)
                spoke = True
                status = str(message.get("status", ""))
                opened = opened or status.startswith("Pulling from ")
                if status.startswith("Digest: "):
                    digest = status.removeprefix("Digest: ")
        # Docker's engines name the digest at the end of what they open so. Others are at their end
        # when the stream is, and nothing of the image is under way.
        under_way = any(layer.state in (WAITING, DOWNLOADING, EXTRACTING) for layer in layers.all())
        if not spoke or (digest is None and (opened or under_way)):
            raise Passing("the Docker Engine's progress stream ended before the pull was complete")
        return digest


def left_alone(order: Order, found: Image | None, own: Platform | None) -> Pulled | None:
    """Return the result of an order that leaves what is there alone, where that is there.

    Args:
        found: what the engine has by the order's name.
        own: the engine's platform, where it is known.
    """
    if order.policy != "missing" or found is None:
        return None
    if not presence.is_for(found, order.platform or own):
        return None
    digest = presence.digest(found, order.reference)
    return presence.pulled(order, found, changed=False, digest=digest)


async def beside(work: Coroutine[Any, Any, T], *watches: Coroutine[Any, Any, None]) -> T:
    """Return what `work` returns, or raise what it raises; what a watch raises ends it before."""
    working = asyncio.create_task(work)
    watching = [asyncio.create_task(watch) for watch in watches]
    going: set[asyncio.Task[Any]] = {working, *watching}
    try:
        while not working.done():
            ended, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
            # Work that ends well in the same moment is not spoilt by what a watch says.
            if not working.done():
                for watch in ended:
                    watch.result()
        return working.result()
    finally:
        for task in (working, *watching):
            task.cancel()
        await asyncio.gather(working, *watching, return_exceptions=True)


async def _next(
    messages: AsyncGenerator[dict[str, Any], None], attempt: Attempt
) -> dict[str, Any] | None:
    """Return the engine's next message, None at the end; `TaskFailed` when nothing moves."""
    layers, timeout = attempt.layers, attempt.order.stall_timeout
    left = stall.left(layers, timeout, time.monotonic())
    try:
        if left <= 0:  # an engine that talks, and does nothing
            raise TimeoutError
        async with asyncio.timeout(left):
            message = await anext(messages)
    except StopAsyncIteration:
        return None
    except TimeoutError as error:
        raise TaskFailed(stall.words(layers, timeout)) from error
    layers.apply(message, time.monotonic())
    return message
