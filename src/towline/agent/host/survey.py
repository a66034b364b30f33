"""The survey: what the agent knows of its machine, looked at anew now and then."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from functools import partial

import msgspec
import structlog

from towline.agent.fields import clean_name
from towline.agent.host.facts import Gathered
from towline.wire.facts import Facts

log = structlog.get_logger()

LOOK_EVERY = 60.0
"""Seconds between looks: a node that changes for ever is registered anew no more often."""
LOOK_WITHIN = 2.0
"""Seconds for which a look is waited for: a name server that is away would delay the agent."""


class Survey:
    """Looks at the machine, in a thread of its own: what it asks may be slow, or never answer.

    Attributes:
        seen: what the last look has found.

    Args:
        gather: looks; called in a thread, and one at a time.
        changed: called when a look finds other facts than the one before.
        look_every, look_within: seconds; see the constants.
    """

    def __init__(
        self,
        gather: Callable[[], Gathered],
        changed: Callable[[], None],
        *,
        look_every: float = LOOK_EVERY,
        look_within: float = LOOK_WITHIN,
    ) -> None:
        self._gather = gather
        self._changed = changed
        self._look_every = look_every
        self._look_within = look_within
        self._looking: asyncio.Future[Gathered] | None = None
        self.seen = Gathered(Facts())

    @property
    def facts(self) -> Facts:
        """What the machine is."""
        return self.seen.facts

    async def run(self) -> None:
        """Look now and then, for ever."""
        while True:
            await asyncio.sleep(self._look_every)
            await self.look()

    async def look(self) -> None:
        """Look again; what takes longer than is waited for counts once it is there."""
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.create_future()
            self._looking.add_done_callback(self._looked)
            # No thread of an executor: the agent's end would wait for it.
            threading.Thread(
                target=self._work, args=(loop, self._looking), name="survey", daemon=True
            ).start()
        _, late = await asyncio.wait([self._looking], timeout=self._look_within)
        if late:
            log.warning("the machine's facts take long", waited=self._look_within)

    def _looked(self, looking: asyncio.Future[Gathered]) -> None:
        self._looking = None
        error = looking.exception()
        if error is not None:
            log.error("the machine's facts were not found out", exc_info=error)
            return
        before, found = self.seen, looking.result()
        if not found.facts.fqdn:
            # A name server that is away for a while makes no other machine of this one.
            fqdn = before.facts.fqdn or clean_name(socket.gethostname())
            facts = msgspec.structs.replace(found.facts, fqdn=fqdn)
            found = msgspec.structs.replace(found, facts=facts)
        self.seen = found
        for path, reason in self.seen.troubles.items():
            if before.troubles.get(path) != reason:
                log.warning("custom facts not readable", file=path, reason=reason)
        if before.facts != self.seen.facts:
            self._changed()

    def _work(self, loop: asyncio.AbstractEventLoop, looking: asyncio.Future[Gathered]) -> None:
        try:
            settle = partial(looking.set_result, self._gather())
        except Exception as error:  # noqa: BLE001 - it is logged where it is received
            settle = partial(looking.set_exception, error)
        # The agent may have ended meanwhile, and its loop with it.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle)
