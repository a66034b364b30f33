"""The cooldowns of registries, as controllers keep them for the whole fleet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import structlog

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Bucket
from towline.broker.jetstream import JetStream
from towline.operation import catalog
from towline.units import timestamp
from towline.wire.cooldown import INTERVAL, LONGEST_ASKED, Cooldown, Refusal, in_force
from towline.wire.job import Job
from towline.wire.report import CooldownQuestion

log = structlog.get_logger()

BUCKET = "cooldowns"


class Cooldowns:
    """The cooldown of each registry: stored once for all controllers, and known by each.

    The broker keeps them in memory: a cooldown lasts for a while only, and a registry that has lost
    its own refuses the next request.

    Args:
        now: returns seconds since 1970, by the controllers' clock.
        interval: seconds between two nodes that begin after a cooldown, on average.
    """

    def __init__(
        self, jetstream: JetStream, now: Callable[[], float], *, interval: float = INTERVAL
    ) -> None:
        self._bucket = Bucket(
            jetstream,
            BUCKET,
            Cooldown,
            storage="memory",
            max_age=2 * LONGEST_ASKED,
            max_bytes=16 * 1024**2,
            discard="old",
        )
        self._now = now
        self._interval = interval
        self._known: dict[str, Cooldown] = {}

    async def create(self, replicas: int) -> None:
        """Make the bucket where it doesn't exist; raises as `Bucket.create`."""
        await self._bucket.create(replicas)

    async def run(self) -> None:
        """Learn of all cooldowns, whichever controller has stored them, for ever."""
        async for change in self._bucket.follow():
            self._known[change.key] = change.value

    def of(self, job: Job) -> Cooldown | None:
        """Return the cooldown of what a job logs in to, up to the end of its return.

        It is taken from memory; None where there is none, or the job logs in nowhere.

        Raises:
            ValueError: as `Catalog.credential_for`.
        """
        place = catalog.credential_for(job)
        found = None if place is None else self._known.get(cooldown_key(place))
        return None if found is None or self._now() >= found.over else found

    async def limited(self, job: Job, hostname: str, question: CooldownQuestion) -> Cooldown | None:
        """Record that a node was refused for too many requests.

        Args:
            job: for which it has asked.
            hostname: the node's.
            question: what it says.

        Returns:
            the cooldown that is in force now; None where the job logs in nowhere.

        Raises:
            BrokerError: it may or may not have been stored.
            ValueError: as `Catalog.credential_for`.
        """
        place = catalog.credential_for(job)
        if place is None:
            return None
        refusal = Refusal(
            place,
            hostname,
            question.reason,
            nodes=job.nodes,
            known=question.known,
            asked=question.asked,
        )
        key = cooldown_key(place)
        known = self._known.get(key)
        if known is not None and self._next(known, refusal) == known:
            # A thousand nodes that were refused together cost the broker nothing.
            return known
        while True:
            entry = await self._bucket.get(key)
            last = None if entry is None else entry.value
            found = self._next(last, refusal)
            if found != last:
                try:
                    await self._bucket.put(key, found, last=0 if entry is None else entry.sequence)
                except WrongLastSequence:
                    continue  # one that another controller has begun, or this one of ours
                log.warning(
                    "registry cools down", registry=place, until=timestamp(found.until), by=hostname
                )
            self._known[key] = found
            return found

    def _next(self, last: Cooldown | None, refusal: Refusal) -> Cooldown:
        return in_force(last, refusal, self._now(), interval=self._interval)


def cooldown_key(registry: str) -> str:
    """Return the key of a registry's cooldown: a host has dots, and an address brackets."""
    return hashlib.sha256(msgspec.json.encode([registry])).hexdigest()[:32]
