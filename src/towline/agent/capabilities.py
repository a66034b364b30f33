"""What the node can do, and whether that works at this moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from towline.agent.ledger import Ledger
from towline.agent.provider import Provider
from towline.runtime.pauses import within

log = structlog.get_logger()

PROBE_EVERY = 2.0
"""Seconds between looks at a provider, and at the ledger's disk: a node says so soon when one goes
or comes back, and that the disk is full before a task can't be accepted, not when."""
PROBE_WITHIN = 30.0
"""Seconds that a look at a provider may take: more than any provider gives itself."""


class Capabilities:
    """Watches the providers of one node, and the disk of its ledger, without which none works.

    Args:
        changed: called when the node offers something else, or something works or doesn't.
        probe_every, probe_within: seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        providers: Sequence[Provider],
        changed: Callable[[], None],
        *,
        probe_every: float = PROBE_EVERY,
        probe_within: float = PROBE_WITHIN,
    ) -> None:
        self._ledger = ledger
        self._providers = {provider.capability: provider for provider in providers}
        self._changed = changed
        self._probe_every = probe_every
        self._probe_within = probe_within
        self._ledger_trouble = ""
        self._seen = {
            name: (provider.offered, "not looked at yet")
            for name, provider in self._providers.items()
        }
        self._requested = {name: asyncio.Event() for name in self._providers}

    @property
    def names(self) -> list[str]:
        """All that the node might offer."""
        return list(self._providers)

    def offers(self, capability: str) -> bool:
        """Return whether this node has `capability`, working at this moment or not."""
        return self._seen.get(capability, (False, ""))[0]

    def trouble(self, capability: str) -> str:
        """Return why a capability does not work at this moment, or ""."""
        return self._ledger_trouble or self._seen.get(capability, (False, ""))[1]

    @property
    def troubles(self) -> dict[str, str]:
        """What the node offers, each with why it does not work at this moment, or ""."""
        return {name: self.trouble(name) for name in self.names if self.offers(name)}

    def probe_now(self, capability: str) -> None:
        """Look at a capability's provider now: a task could not reach what it needs."""
        if capability in self._requested:
            self._requested[capability].set()

    async def probe(self) -> None:
        """Look at all providers."""
        await asyncio.gather(*(self._probe(provider) for provider in self._providers.values()))

    async def run(self) -> None:
        """Look at everything now and then, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_ledger())
            for provider in self._providers.values():
                group.create_task(self._watch(provider))

    async def close(self) -> None:
        """Close the providers."""
        for provider in self._providers.values():
            try:
                await provider.close()
            except Exception:
                log.exception("provider not closed", capability=provider.capability)

    async def _watch(self, provider: Provider) -> None:
        requested = self._requested[provider.capability]
        while True:
            requested.clear()
            await self._probe(provider)
            await within(self._probe_every, requested.wait())

    async def _probe(self, provider: Provider) -> None:
        capability = provider.capability
        try:
            async with asyncio.timeout(self._probe_within):
                await provider.probe()
            trouble = provider.trouble
        except TimeoutError:
            trouble = f"no answer within {self._probe_within:g} s"
        except Exception as error:
            log.exception("provider broke off", capability=capability)
            trouble = f"unexpected {type(error).__name__}: {error}"
        seen = (provider.offered, trouble)
        if seen != self._seen[capability]:
            self._seen[capability] = seen
            if trouble:
                log.warning("capability does not work", capability=capability, reason=trouble)
            else:
                log.info("capability works", capability=capability)
            self._changed()

    async def _watch_ledger(self) -> None:
        while True:
            trouble = await self._ledger.trouble()
            if trouble != self._ledger_trouble:
                self._ledger_trouble = trouble
                if trouble:
                    log.error("ledger not writable", reason=trouble)
                else:
                    log.info("ledger writable again")
                self._changed()
            await asyncio.sleep(self._probe_every)
