"""What an attempt logs in to the registry with, and what it means when that is refused."""

from __future__ import annotations

import asyncio
import time

import structlog

from towline.agent.docker.errors import Hopeless, Passing
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.attempt import Attempt, Hook, Login
from towline.agent.docker.pull.docker_config import DockerConfiguration, Unusable
from towline.agent.docker.pull.faults import classify
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.releases import Releases
from towline.errors import BrokerUnreachable, TaskFailed
from towline.runtime.keys import NodeKey, WrongKey
from towline.runtime.redaction import strike
from towline.wire.credential import Issued
from towline.wire.decoding import Decoder, Unreadable
from towline.wire.reference import parse_registry

log = structlog.get_logger()

PATIENCE = 300.0
"""Seconds that an attempt waits for a controller where it needs what only controllers know."""
SETTLE_WITHIN = 10.0
"""Seconds that an attempt asks again where one controller gave no credential, but another may."""
ASK_EVERY = 0.5

_issued = Decoder(Issued)


class Credentials(Hook):
    """Finds credentials: the request's own, Towline's for the registry, the node's own.

    Nothing of them is kept: each attempt has what is in force by then.

    Args:
        releases: in which controllers give credentials.
        key: the node's, to which controllers seal.
        configuration: the node's Docker configuration; None where it is to be left alone.
        patience, settle_within, ask_every: seconds; see the constants.
    """

    def __init__(
        self,
        releases: Releases,
        key: NodeKey,
        configuration: DockerConfiguration | None,
        *,
        patience: float = PATIENCE,
        settle_within: float = SETTLE_WITHIN,
        ask_every: float = ASK_EVERY,
    ) -> None:
        self._releases = releases
        self._key = key
        self._configuration = configuration
        self._patience = patience
        self._settle_within = settle_within
        self._ask_every = ask_every
        self._unasked: set[Order] = set()
        """Those that a registry denied while no controller could be asked."""

    async def prepare(self, attempt: Attempt) -> None:
        """Log the attempt in."""
        login = await self.login(attempt)
        attempt.login = login
        credential = login.credential
        # Asked again after a wait: what was found before may have been removed.
        attempt.auth = None if credential is None else credential.for_engine(login.registry)

    async def login(self, attempt: Attempt) -> Login:
        """Return what to log in with.

        Raises:
            Hopeless: controllers refuse it.
            Passing: none could be asked.
        """
        order = attempt.order
        registry = parse_registry(order.reference.domain)
        trouble = ""
        must = order.login is not None or order in self._unasked
        try:
            issued = await self._issued(attempt, self._patience if must else 0.0)
        except BrokerUnreachable as error:
            trouble = f"no controller could be asked for credentials: {error.details}"
            if must:
                raise Passing(trouble) from error
        except TaskFailed as error:
            # The pull may do without, and what the registry says of that counts.
            trouble = error.error
            if must:
                raise
        else:
            self._unasked.discard(order)
            if issued is not None:
                source = "of the request" if issued.own else "kept with Towline"
                return Login(registry, issued.credential, source)
        if self._configuration is not None:
            try:
                own = await self._configuration.find(registry)
            except Unusable as error:
                log.warning("Docker configuration not usable", registry=registry, reason=str(error))
                trouble = "; ".join(part for part in (trouble, str(error)) if part)
            else:
                if own is not None:
                    source = f"of {str(self._configuration.path)!r} on this node"
                    return Login(registry, own, source)
        return Login(registry, trouble=trouble)

    async def _issued(self, attempt: Attempt, patience: float) -> Issued | None:
        """Return what controllers give; None where nothing is kept for the registry.

        Raises:
            BrokerUnreachable: none has answered within `patience` seconds.
            Hopeless: they refuse it.
            Passing: none gives it, although one may.
        """
        began = time.monotonic()
        asking = self._releases.current
        while True:
            waited = time.monotonic() - began
            try:
                release = await asking(attempt)
            except BrokerUnreachable:
                if waited >= patience:
                    raise
            except TaskFailed as error:
                raise Hopeless(f"controllers gave no credential: {error.error}") from error
            else:
                supply = None if release is None else release.supply
                if supply is None:
                    return None
                problem = supply.error
                if supply.sealed:
                    try:
                        return _issued.decode(self._key.unseal(supply.sealed))
                    except WrongKey as error:
                        # Of an earlier start: controllers learn of the present one in a moment.
                        problem = error.error
                    except Unreadable as error:
                        problem = str(error)
                elif not supply.again:
                    raise Hopeless(f"controllers gave no credential: {problem}")
                if waited >= max(patience, self._settle_within):
                    raise Passing(f"controllers gave no credential: {problem}")
            asking = self._releases.ask
            await asyncio.sleep(self._ask_every)

    def explain(self, attempt: Attempt, error: TaskFailed) -> TaskFailed:
        """Say whose credentials a registry has refused, and strike them out of its words."""
        login = attempt.login
        if login is None:
            return error
        credential = login.credential
        words = strike(error.error, credential.secrets if credential is not None else ())
        error.error, error.args = words, (words,)
        fault = classify(error, attempt.order.reference)
        if fault.kind is not Kind.REFUSED:
            return error
        if credential is not None:
            who = f"{credential.who} ({login.source})"
            return Hopeless(f"{login.registry} refused {who}: {words}", Kind.REFUSED)
        if login.trouble:
            self._unasked.add(attempt.order)
            return Passing(f"{words} ({login.trouble})")
        return Hopeless(f"{words} (no credential is kept for {login.registry})", Kind.REFUSED)
