"""The controllers, as a node asks them and believes them: what they say is signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from towline.broker.clock import Clock
from towline.broker.connection import Connection, unreachable
from towline.broker.listener import Received
from towline.errors import BrokerUnreachable
from towline.trust.signing import UnknownKey, Verifier, answer_to, order_for
from towline.wire import messages
from towline.wire.decoding import Unreadable
from towline.wire.release import Order, Release
from towline.wire.report import Answer, Receipt

T = TypeVar("T", Answer, Receipt)

CONTROLLERS = "controllers"
"""The kind of request, as the connection counts failures."""
FRESH_FOR = 60.0
"""Seconds for which an order is taken after it was sent: whoever holds the broker can delay it for
so long, and send it again. A controller sends what is not answered every few seconds anew."""
LONGEST_REFUSAL = 500
"""Characters of why a message is refused: heartbeats have it in them."""
AHEAD = 60.0
"""Seconds that the clock of a controller may be ahead of what the others show."""


class Controllers:
    """The controllers, as a node asks and believes them.

    Attributes:
        refused: how many messages could not be read, or were not believed.
        refusal: why the newest of them was not.
        clock: theirs, as far as signed messages show it.
        on_unknown_key: called when a message is signed by a key that is not known here.
        clock_doubted: whether an order that they have signed is of another time than that; then
            they are to be asked.

    Args:
        verifier: what they sign is verified by.
        fresh_for: seconds; see the constant.
    """

    def __init__(
        self,
        connection: Connection,
        machine: str,
        clock: Clock,
        verifier: Verifier,
        *,
        fresh_for: float = FRESH_FOR,
    ) -> None:
        self._connection = connection
        self._machine = machine
        self._verifier = verifier
        self._fresh_for = fresh_for
        self.clock = clock
        self.clock_doubted = False
        self.on_unknown_key: Callable[[], None] = lambda: None
        self.refused = 0
        self.refusal = ""

    def refuse(self, error: Unreadable) -> None:
        """Count a message that is not believed."""
        self.refused += 1
        self.refusal = str(error)[:LONGEST_REFUSAL]
        if isinstance(error, UnknownKey):
            self.on_unknown_key()

    def order(self, received: Received) -> Order:
        """Return what a controller has sent to this node, or to all.

        Raises:
            Unreadable: it can't be read, is not signed for where it came, or is of another time.
        """
        purpose = order_for(received.subject, received.reply)
        found = messages.order(self._verifier.open(received.data, purpose), self._machine)
        age = self.clock.now() - found.time
        if age > self._fresh_for or age < -AHEAD:
            # Their clocks may have been set, or this machine has stood still.
            self.clock_doubted = True
            when = "ago" if age > 0 else "from now"
            raise Unreadable(f"it was sent {abs(age):.0f} s {when}, by the controllers' clock")
        if isinstance(found, Release):
            self.check_created(found)
        self.clock.passed(found.time)
        return found

    def check_created(self, release: Release) -> None:
        """Raise `Unreadable` where the job of a release is made in the future."""
        job = release.job
        if job is not None and job.created > self.clock.now() + AHEAD:
            raise Unreadable("its job is made in the future")

    async def ask(
        self, subject: str, body: bytes, within: float, read: Callable[[bytes, str], T]
    ) -> T:
        """Send a request, and return what `read` makes of the answer of one of them.

        A server of a cluster over which none has answered for long is left for another: it may be
        cut off, and takes what it is sent all the same.

        Raises:
            BrokerUnreachable: none has answered within so many seconds, or not to be believed.
        """
        connection = self._connection
        if not connection.connected:
            raise unreachable(f"NATS: {connection.last_error}")
        sent = self.clock.running()
        try:
            message = await connection.request(subject, body, timeout=within)
        except BrokerUnreachable as error:
            connection.failed(CONTROLLERS, error.details)
            raise
        connection.succeeded(CONTROLLERS)
        try:
            purpose = answer_to(subject, body, message.subject)
            answer = read(self._verifier.open(message.data, purpose), self._machine)
        except Unreadable as error:
            self.refuse(error)
            raise unreachable(f"the answer on {subject!r} is not believed: {error}") from error
        self.clock.observe(answer.time, sent)
        self.clock_doubted = False
        return answer
