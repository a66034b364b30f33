"""A node's login to the broker, which it has renewed long before it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from towline.agent.questions import ControllerQuestions
from towline.errors import BrokerUnreachable, TowlineError
from towline.runtime.pauses import Pauses
from towline.trust.identity import Identity

log = structlog.get_logger()

LOOK_EVERY = 60.0
"""Seconds between looks at how old the login is: the machine may have slept."""
RETRY_EVERY = 5.0
LONGEST_PAUSE = 300.0
"""Seconds between attempts at first, and at most."""


class Renewal:
    """Has the login renewed once half of its time is over, and again for as long as that fails.

    It is asked for over the broker; where that is out of reach and the login has ended, at the
    controller's URL by which the node came in. The connection that there is goes on. The one after
    it, which comes when the broker ends the old login at the latest, reads the new one.

    Args:
        now: seconds since 1970.
        look_every, retry_every: seconds; see the constants.
    """

    def __init__(
        self,
        identity: Identity,
        questions: ControllerQuestions,
        now: Callable[[], float],
        *,
        look_every: float = LOOK_EVERY,
        retry_every: float = RETRY_EVERY,
    ) -> None:
        self._identity = identity
        self._questions = questions
        self._now = now
        self._look_every = look_every
        self._retry_every = retry_every

    async def run(self) -> None:
        """Keep the login good, for ever."""
        pauses = Pauses(self._retry_every, LONGEST_PAUSE)
        while True:
            left = self._until_due()
            if left > 0:
                pauses.reset()
                await asyncio.sleep(min(left, self._look_every))
                continue
            try:
                await self._renew()
            except (TowlineError, OSError) as error:
                log.warning("login not renewed", reason=str(error))
            # Also after a success: by this machine's clock the new one may be old already.
            await pauses.wait()

    def _until_due(self) -> float:
        login = self._identity.read_login()
        if not login.exp:
            return self._look_every
        return (login.iat + login.exp) / 2 - self._now()

    async def _renew(self) -> None:
        try:
            jwt = await self._questions.renew()
        except BrokerUnreachable as error:
            if self._identity.read_login().exp > self._now():
                raise
            log.info("login has ended", reason=error.details)
            # What speaks HTTP takes memory that a node with a good login doesn't need.
            from towline.agent.joining import renew

            jwt = await asyncio.to_thread(renew, self._identity)
        await asyncio.to_thread(self._identity.renew, jwt)
        log.info("login renewed")
