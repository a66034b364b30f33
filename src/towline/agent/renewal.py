"""A node's login to the broker and all that it trusts, renewed long before any of it ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog

from towline.agent.questions import ControllerQuestions
from towline.agent.trust_files import TrustFiles
from towline.errors import BrokerUnreachable, TowlineError
from towline.runtime.pauses import Pauses, within
from towline.trust.identity import Identity
from towline.trust.trusted import CA, JOBS, differing
from towline.wire.joining import Renewal as Renewed

log = structlog.get_logger()

LOOK_EVERY = 60.0
"""Seconds between looks at how old the login is: the machine may have slept."""
RETRY_EVERY = 1.0
LONGEST_PAUSE = 300.0
"""Seconds between attempts at first, and at most. At first it may be that a controller answers that
has not read its files again, which it does within a second."""


class Renewal:
    """Has the login renewed once half of its time is over, and with it all that the node trusts.

    It does so too when controllers say that the node ought to trust something else, and again for
    as long as it fails. It asks over the broker. Where that is out of reach, and the login has
    ended or the node is cut off, it asks at the controller's URL by which the node came in.

    The connection that there is goes on, unless another key has signed the new login. The one after
    it, which comes when the broker ends the old login at the latest, reads the new one.

    What is in a file that a setting names, and not in that of the identity, nobody is asked for.

    Args:
        files: what the node trusts; they are read again after each renewal.
        now: seconds since 1970.
        look_every, retry_every: seconds; see the constants.
    """

    def __init__(
        self,
        identity: Identity,
        files: TrustFiles,
        questions: ControllerQuestions,
        now: Callable[[], float],
        *,
        look_every: float = LOOK_EVERY,
        retry_every: float = RETRY_EVERY,
    ) -> None:
        self._identity = identity
        self._files = files
        self._questions = questions
        self._now = now
        self._look_every = look_every
        self._retry_every = retry_every
        self._wanted = ""
        self._cut_off = False
        self._needed = asyncio.Event()
        used = {CA: (files.ca, identity.ca), JOBS: (files.jobs, identity.jobs)}
        self._kept_by_others = {
            kind for kind, (path, own) in used.items() if path not in (None, own)
        }
        """The kinds of keys that settings take from another file: no answer changes that."""
        for kind in self._kept_by_others:
            log.warning("not renewed, since a setting names it", file=str(used[kind][0]))
        self._later: asyncio.TimerHandle | None = None
        self._spread = 0.0

    def told(self, trusts: str, spread: float = 0.0) -> None:
        """Take it that controllers say what the node ought to trust.

        Args:
            trusts: the hash of it; "" where they don't say.
            spread: seconds over which all nodes spread that they ask; 0 where they don't say.
        """
        self._wanted = trusts or self._wanted
        self._spread = spread or self._spread
        if self._behind:
            self._look_later(spread)

    def cut_off(self, kind: str | None = None) -> None:
        """Take it that the node can't be reached with what it has.

        The broker refuses its login, or shows a certificate of which it knows nothing, or somebody
        signs messages with a key that it doesn't know. A whole fleet may be so at the same moment:
        it asks spread over the time that controllers gave last.

        Args:
            kind: which kind of keys is missing, where it is known.
        """
        if kind in self._kept_by_others:
            return
        self._cut_off = True
        self._look_later(self._spread)

    def _look_later(self, spread: float) -> None:
        if self._later is None:
            pause = random.uniform(0.0, spread)
            self._later = asyncio.get_running_loop().call_later(pause, self._look)

    def _look(self) -> None:
        self._later = None
        if self._behind or self._cut_off:
            self._needed.set()

    @property
    def _behind(self) -> bool:
        if not self._wanted:
            return False
        found = differing(self._wanted, self._files.trusted.hash)
        return not self._kept_by_others.issuperset(found)

    async def run(self) -> None:
        """Keep the login good, and what the node trusts, for ever."""
        pauses = Pauses(self._retry_every, LONGEST_PAUSE)
        while True:
            left = self._until_due()
            if left > 0 and not self._needed.is_set():
                if not await within(min(left, self._look_every), self._needed.wait()):
                    # Not after a success: as long as controllers have different files, or one signs
                    # with a key of its own, there is always something to ask for.
                    pauses.reset()
                continue
            try:
                await self._renew()
            except (TowlineError, OSError) as error:
                log.warning("login not renewed", reason=str(error))
            else:
                self._cut_off = False
                self._needed.clear()
                if self._behind:
                    # Another controller has answered, which has other keys yet.
                    self._needed.set()
            # Also after a success: by this machine's clock the new one may be old already.
            await pauses.wait()

    def _until_due(self) -> float:
        login = self._identity.read_login()
        if not login.exp:
            return self._look_every
        return (login.iat + login.exp) / 2 - self._now()

    async def _renew(self) -> None:
        try:
            renewed = await self._questions.renew()
        except BrokerUnreachable as error:
            renewed = await self._renewed_by_http(error)
        await asyncio.to_thread(self._identity.renew, renewed)
        self._files.read_again()
        log.info("login renewed", trusts=self._files.trusted.hash)

    async def _renewed_by_http(self, error: BrokerUnreachable) -> Renewed:
        ended = self._identity.read_login().exp <= self._now()
        if not ended and not self._cut_off:
            raise error
        log.info("login has ended" if ended else "cut off", reason=error.details)
        # What speaks HTTP takes memory that a node with a good login doesn't need.
        from towline.agent.joining import renew

        return await asyncio.to_thread(renew, self._identity)
