"""Cooldowns: after "too many requests" the whole fleet leaves a registry alone for a while.

The first node whose request is refused so stores it for all, in a bucket of the broker: from when
on the registry may be asked again, and for how long nodes are to begin one after another then. Each
takes a moment of its own in that time at random, so that all come back gently.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
import structlog

from towline.agent.docker.kind import Kind
from towline.agent.docker.pull import steps
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.faults import Fault
from towline.broker.answers import BrokerRefused, WrongLastSequence
from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.errors import BrokerUnreachable
from towline.units import timestamp
from towline.wire.cooldown import BUCKET, LONGEST_ASKED, Cooldown, cooldown_key
from towline.wire.credential import HUB_ADDRESS
from towline.wire.reference import DOCKER_HUB, Reference

log = structlog.get_logger()

FIRST = 15.0
"""Seconds of a cooldown of which the registry doesn't say how long; it doubles with each in a
row."""
LONGEST = 900.0
INTERVAL = 0.5
"""Seconds between two nodes that begin after a cooldown, on average; it doubles with each in a row.
A pull is some five requests: ten a second."""
LONGEST_RETURN = 600.0
ASK_WITHIN = 5.0
LOOK_EVERY = 2.0
"""Seconds between looks at a cooldown: it may have become longer, or be over."""


class Cooldowns(Hook):
    """Has pulls wait for registries that cool down, and begins cooldowns.

    Args:
        interval: seconds between two nodes that begin after a cooldown, on average.
    """

    def __init__(self, jetstream: JetStream, hostname: str, *, interval: float = INTERVAL) -> None:
        self._jetstream = jetstream
        self._bucket = Bucket(jetstream, BUCKET, Cooldown)
        self._hostname = hostname
        self._interval = interval
        self._known: dict[str, tuple[Cooldown, int]] = {}
        self._own = 0
        self._asking: set[asyncio.Task[None]] = set()

    # Waiting

    async def ready(self, attempt: Attempt) -> None:
        """Wait until it is this pull's turn to ask the registry."""
        registry = attempt.order.reference.domain
        waited = False
        while True:
            found = await self._find(registry)
            now = self._jetstream.clock.now()
            if found is None or now >= found[0].over or attempt.cooldown == found[1]:
                attempt.cooldown = 0 if found is None else found[1]
                break
            cooldown, sequence = found
            moment = random.uniform(max(now, cooldown.until), cooldown.over)
            attempt.step(
                steps.cooldown(
                    f"{registry} rests until {timestamp(cooldown.until)}: {cooldown.by} was told "
                    f"{cooldown.reason!r}; this pull goes on at {timestamp(moment)}"
                )
            )
            waited = True
            await self._until(registry, moment, sequence)
            latest = self._known.get(registry)
            if latest is None or latest[1] == sequence:
                attempt.cooldown = sequence
        if waited:
            attempt.step(steps.dequeued(f"{registry} may be asked again"))

    def allows(self, attempt: Attempt) -> bool:
        """Return whether no cooldown has begun since the pull's wait was over."""
        found = self._known.get(attempt.order.reference.domain)
        if found is None or found[1] == attempt.cooldown:
            return True
        return self._jetstream.clock.now() >= found[0].over

    async def _until(self, registry: str, moment: float, sequence: int) -> None:
        """Return at a moment, or when another cooldown has taken the place of this one."""
        while (left := moment - self._jetstream.clock.now()) > 0:
            await asyncio.sleep(min(left, random.uniform(LOOK_EVERY / 2, LOOK_EVERY)))
            found = await self._find(registry)
            if found is None or found[1] != sequence:
                return

    async def _find(self, registry: str) -> tuple[Cooldown, int] | None:
        """Return the cooldown of a registry with its sequence; None where there is none."""
        if not self._jetstream.connection.connected:
            # The last one known counts; a pull doesn't wait for the broker.
            return self._known.get(registry)
        try:
            entry = await self._bucket.get(cooldown_key(registry))
        except (BrokerRefused, BrokerUnreachable) as error:
            log.warning("cooldown not known", registry=registry, reason=error.details)
            return self._known.get(registry)
        if entry is None or entry.value is None:
            known = self._known.get(registry)
            if known is not None and known[1] < 0:
                return known  # it could not be stored
            self._known.pop(registry, None)
            return None
        self._known[registry] = entry.value, entry.sequence
        return self._known[registry]

    # Beginning

    async def failed(self, attempt: Attempt, fault: Fault) -> None:
        """Begin a cooldown of a registry that has had too many requests."""
        if fault.kind is not Kind.BUSY:
            return
        reference = attempt.order.reference
        found = await self._find(reference.domain)
        now = self._jetstream.clock.now()
        last, sequence = (None, 0) if found is None else found
        if sequence != attempt.cooldown:
            return  # one has begun since this pull went on
        row = last.row + 1 if last is not None and now < last.over + LONGEST else 1
        seconds = min(LONGEST, FIRST * 2 ** (row - 1))
        if fault.retry_after is not None:
            seconds = min(LONGEST_ASKED, fault.retry_after)
        nodes = max([job.nodes for job in attempt.jobs()], default=1)
        cooldown = self._cooldown(
            *(reference.domain, now, seconds, nodes, row, self._hostname, fault.reason)
        )
        stored = await self._store(cooldown, sequence)
        if stored is not None and fault.retry_after is None:
            task = asyncio.create_task(self._ask(reference, cooldown, nodes, stored))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    def _cooldown(
        self,
        registry: str,
        now: float,
        seconds: float,
        nodes: int,
        row: int,
        by: str,
        reason: str,
    ) -> Cooldown:
        # However little it asks for: where that has not helped, more.
        until = now + max(seconds, min(LONGEST, 2.0 ** (row - 1)))
        back = min(LONGEST_RETURN, self._interval * nodes * 2 ** (row - 1))
        return Cooldown(registry, now, until, until + back, row, by, reason[:300])

    async def _store(self, cooldown: Cooldown, last: int) -> int | None:
        """Store a cooldown, unless another node has meanwhile; return its sequence then.

        Where it can't be stored, this node keeps it by itself.
        """
        registry = cooldown.registry
        try:
            sequence = await self._bucket.put(cooldown_key(registry), cooldown, last=max(0, last))
        except WrongLastSequence:
            return None
        except (BrokerRefused, BrokerUnreachable) as error:
            log.warning("cooldown not stored", registry=registry, reason=error.details)
            # No sequence of the broker's: each of these is another cooldown all the same.
            self._own -= 1
            self._known[registry] = cooldown, self._own
            return None
        log.warning("registry cools down", registry=registry, until=timestamp(cooldown.until))
        self._known[registry] = cooldown, sequence
        return sequence

    async def _ask(self, reference: Reference, begun: Cooldown, nodes: int, sequence: int) -> None:
        """Ask the registry itself how long it wants to be left alone: engines leave that out."""
        seconds = await retry_after(reference)
        if seconds is not None:
            seconds = min(LONGEST_ASKED, seconds)
            longer = self._cooldown(
                *(begun.registry, begun.since, seconds, nodes, begun.row, begun.by, begun.reason)
            )
            await self._store(longer, sequence)


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
