"""Cooldowns: after "too many requests" the whole fleet leaves a registry alone for a while.

The first node whose request is refused so reports it, and controllers say to all from when on the
registry may be asked again, and for how long nodes are to begin one after another then. Each takes
a moment of its own in that time at random, so that all come back gently.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog

from towline.agent.docker.kind import Kind
from towline.agent.docker.pull import steps
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.faults import Fault
from towline.agent.docker.pull.releases import Releases
from towline.agent.provider import Questions
from towline.errors import BrokerUnreachable, TaskFailed
from towline.units import timestamp
from towline.wire.cooldown import INTERVAL, LONGEST_ASKED, Cooldown, Refusal, in_force
from towline.wire.credential import HUB_ADDRESS
from towline.wire.reference import DOCKER_HUB, Reference, parse_registry

log = structlog.get_logger()

ASK_WITHIN = 5.0
FIRST_LOOK = 4.0
"""Seconds of a wait at most until controllers are asked whether the cooldown is another by now: the
registry itself may have said how long it is to be. Doubled with each look: a large fleet waits."""
LOOK_EVERY = 2.0
"""Seconds between looks at the clock, which may be set right."""


class _Known(msgspec.Struct):
    """What a node knows of a registry.

    Attributes:
        cooldown: the last one, over or not.
        since: when it learned of that, by the controllers' clock.
        own: whether it has begun it for itself alone.
    """

    cooldown: Cooldown
    since: float
    own: bool = False


class Cooldowns(Hook):
    """Has pulls wait for registries that cool down, and reports that one is to.

    What controllers said last counts while none can be asked. A cooldown that could not be reported
    is this node's own, until controllers name one.

    Args:
        now: returns seconds since 1970, by the controllers' clock.
        interval: seconds between two nodes that begin after a cooldown of this node's own.
        first_look, look_every: seconds; see the constants.
        ask: returns how long a registry wants to be left alone.
    """

    def __init__(
        self,
        releases: Releases,
        questions: Questions,
        hostname: str,
        now: Callable[[], float],
        *,
        interval: float = INTERVAL,
        first_look: float = FIRST_LOOK,
        look_every: float = LOOK_EVERY,
        ask: Callable[[Reference], Awaitable[float | None]] | None = None,
    ) -> None:
        self._releases = releases
        self._questions = questions
        self._hostname = hostname
        self._now = now
        self._interval = interval
        self._first_look = first_look
        self._look_every = look_every
        self._ask = ask or retry_after
        self._known: dict[str, _Known] = {}
        self._settling: dict[Cooldown, asyncio.Task[None]] = {}

    # Waiting

    async def ready(self, attempt: Attempt) -> None:
        """Wait until it is this pull's turn to ask the registry."""
        registry = _registry(attempt)
        waited = False
        while True:
            found = await self._find(attempt)
            now = self._now()
            if found is None or now >= found.over or attempt.cooldown == found:
                attempt.cooldown = found
                break
            moment = random.uniform(max(now, found.until), found.over)
            attempt.step(
                steps.cooldown(
                    f"{registry} rests until {timestamp(found.until)}: {found.by} was told "
                    f"{found.reason!r}; this pull goes on at {timestamp(moment)}"
                )
            )
            waited = True
            await self._until(attempt, moment, found)
            if self._last(registry) == found:
                attempt.cooldown = found
        if waited:
            attempt.step(steps.dequeued(f"{registry} may be asked again"))

    async def prepare(self, attempt: Attempt) -> None:
        """Learn of a cooldown that has begun while the pull waited for its slot."""
        await self._find(attempt)

    def allows(self, attempt: Attempt) -> bool:
        """Return whether no cooldown has begun since the pull's wait was over."""
        found = self._last(_registry(attempt))
        return found is None or found == attempt.cooldown or self._now() >= found.over

    async def _until(self, attempt: Attempt, moment: float, cooldown: Cooldown) -> None:
        """Return at a moment, or when another cooldown has taken the place of this one."""
        pause = self._first_look
        look = self._now() + random.uniform(pause / 2, pause)
        while (left := moment - self._now()) > 0:
            await asyncio.sleep(max(0.0, min(left, self._look_every, look - self._now())))
            if self._now() >= look:
                attempt.outdate()
                await self._find(attempt)
                pause *= 2
                look = self._now() + random.uniform(pause / 2, pause)
            if self._last(_registry(attempt)) != cooldown:
                return
        attempt.outdate()

    async def _find(self, attempt: Attempt) -> Cooldown | None:
        """Return the last cooldown of the registry, over or not; None where none is known."""
        try:
            release = await self._releases.current(attempt)
        except (BrokerUnreachable, TaskFailed) as error:
            # The last one known counts; a pull doesn't wait for controllers.
            log.info("cooldown not known", reason=str(error))
        else:
            if release is not None and release.cooldown is not None and attempt.reply is not None:
                self._learn(release.cooldown, attempt.reply.moment)
        return self._last(_registry(attempt))

    def _last(self, registry: str) -> Cooldown | None:
        known = self._known.get(registry)
        return None if known is None else known.cooldown

    def _learn(self, cooldown: Cooldown, moment: float) -> None:
        """Keep what controllers say, unless a later one, or later words of it, are known."""
        known = self._known.get(cooldown.registry)
        if (
            known is None
            or known.own
            or (cooldown.since, moment)
            >= (
                known.cooldown.since,
                known.since,
            )
        ):
            self._known[cooldown.registry] = _Known(cooldown, moment)

    # Beginning

    async def failed(self, attempt: Attempt, fault: Fault) -> None:
        """Report a registry that has had too many requests."""
        if fault.kind is not Kind.BUSY:
            return
        registry = _registry(attempt)
        before = None if attempt.cooldown is None else attempt.cooldown.since
        last, now = self._last(registry), self._now()
        if last is not None and last.since != before and now < last.over:
            return  # one has begun since this pull went on
        jobs = [task.job for task in attempt.tasks()]
        refusal = Refusal(
            registry,
            self._hostname,
            fault.reason,
            nodes=max([job.nodes for job in jobs], default=1),
            known=before,
            asked=fault.retry_after,
        )
        # As many nodes return as the largest of these jobs has.
        job = max(jobs, key=lambda job: job.nodes, default=None)
        begun = None if job is None else await self._report(job.id, refusal)
        if begun is None:
            own = in_force(last, refusal, now, interval=self._interval)
            self._known[registry] = _Known(own, now, own=True)
            log.warning("registry cools down here", registry=registry, until=timestamp(own.until))
            return
        if fault.retry_after is None and begun.by == self._hostname and begun.since != before:
            self._settle(attempt.order.reference, begun, refusal, "" if job is None else job.id)

    async def _report(self, job_id: str, refusal: Refusal) -> Cooldown | None:
        """Report a refusal; return what is in force then, None where it could not be reported."""
        try:
            found = await self._questions.cooldown(
                job_id, reason=refusal.reason, known=refusal.known, asked=refusal.asked
            )
        except (BrokerUnreachable, TaskFailed) as error:
            log.warning("refusal not reported", registry=refusal.registry, reason=str(error))
            return None
        if found is not None:
            self._learn(found, self._now())
        return found

    def _settle(self, reference: Reference, begun: Cooldown, refusal: Refusal, job_id: str) -> None:
        """Have the registry itself asked how long it wants to be left alone, in the background.

        Engines leave out what it says of that.
        """
        if begun in self._settling:
            return

        async def settle() -> None:
            seconds = await self._ask(reference)
            if seconds is not None:
                asked = min(LONGEST_ASKED, seconds)
                await self._report(
                    job_id, msgspec.structs.replace(refusal, known=begun.since, asked=asked)
                )

        task = self._settling[begun] = asyncio.create_task(settle())
        task.add_done_callback(lambda _: self._settling.pop(begun, None))


def _registry(attempt: Attempt) -> str:
    return parse_registry(attempt.order.reference.domain)


async def retry_after(reference: Reference) -> float | None:
    """Ask a registry for a manifest, without logging in; return the `Retry-After` of a refusal.

    Returns:
        seconds; None where it doesn't say, is not refused for too many requests, or can't be
        reached from here as it can by the engine.

    Source: RFC 9110, section 10.2.3; RFC 6585, section 4.
    """
    host = reference.domain
    if host == DOCKER_HUB:
        host = urlsplit(HUB_ADDRESS).netloc
    name = urlsplit(f"//{host}").hostname or ""
    # As engines do: in the clear to this machine alone.
    schemes = ("https", "http") if name in ("localhost", "127.0.0.1", "::1") else ("https",)
    path = f"/v2/{reference.path}/manifests/{reference.digest or reference.tag or 'latest'}"
    timeout = aiohttp.ClientTimeout(total=ASK_WITHIN)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
        for scheme in schemes:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with session.head(f"{scheme}://{host}{path}") as answer:
                    if answer.status != 429:
                        return None
                    return _seconds(answer.headers.get("Retry-After", ""))
    return None


def _seconds(text: str) -> float | None:
    """Return the seconds that a `Retry-After` names, a number or a date."""
    if text.strip().isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return None
