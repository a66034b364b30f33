"""Heartbeats: that the node is here, what it can do at this moment, and which tasks it holds."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from towline import __version__
from towline.agent.asking import Controllers
from towline.agent.capabilities import Capabilities
from towline.agent.fields import clean, clean_moment, clean_name
from towline.agent.host import machine as host
from towline.agent.host.conditions import Watch
from towline.agent.host.survey import Survey
from towline.agent.ledger import Ledger
from towline.agent.questions import ControllerQuestions, SecondAgent
from towline.broker.clock import running
from towline.broker.connection import Connection
from towline.errors import BrokerUnreachable
from towline.runtime.pauses import Pauses, within
from towline.wire.node import MOST_NAMED, Heartbeat, Registration, pack
from towline.wire.release import BeatNow
from towline.wire.subjects import heartbeat_subject
from towline.wire.target import Label

log = structlog.get_logger()

SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.1, 600.0
"""Seconds between heartbeats that controllers may ask for; none is sent sooner after another than
the shortest, whatever is received."""
SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""Seconds between attempts to register; see `towline.runtime.pauses`."""
SEND_WITHIN = 5.0
"""Seconds for which a heartbeat waits for room on its way."""

REGISTER_AFTER = 12
"""Heartbeats after which a node registers once more, and so finds out whether anybody is there; a
quarter of that in a cluster, where a server that is cut off from the others takes heartbeats as any
other."""


class Heartbeats:
    """Registers a node, and sends its heartbeats.

    Attributes:
        sent: set once a heartbeat was sent by a registered node: from then on the fleet knows that
            it is here.

    Args:
        start: what the agent has drawn at this start, and `after` at the one before.
        labels: what the node carries.
        controllers: of what they are to have said some may not be believed.
        capabilities: what it can do.
        survey: what is known of the machine.
        running_tasks: returns how many tasks there are at this moment.
        public_key: what is sealed to it only this node can read.
        trusts: returns the hash of what the node trusts, and `told` is called with that of what
            controllers say, and with the seconds over which all nodes spread what they do about it.
        inventory: returns the hash of what is on the node; "" where that isn't known.
        subscribed: returns once the broker sends what is for this node. No heartbeat is sent
            before, since tasks are sent to nodes that have sent one.
        taken: awaited before the first heartbeat, when a controller has taken this start of the
            agent for the node.
        interval: seconds between heartbeats, until a controller names others.
        shortest_pause: seconds between attempts to register, at first.
        register_after: heartbeats after which a node registers once more.
        send_within: seconds; see the constant.
    """

    def __init__(
        self,
        connection: Connection,
        machine: str,
        hostname: str,
        labels: list[Label],
        *,
        start: str,
        after: str,
        controllers: Controllers,
        questions: ControllerQuestions,
        ledger: Ledger,
        capabilities: Capabilities,
        survey: Survey,
        running_tasks: Callable[[], int],
        public_key: str,
        trusts: Callable[[], str] = lambda: "",
        inventory: Callable[[], str] = lambda: "",
        told: Callable[[str, float], None] = lambda trusts, spread: None,
        subscribed: Callable[[], Awaitable[None]],
        taken: Callable[[], Awaitable[None]],
        interval: float,
        shortest_pause: float = SHORTEST_PAUSE,
        register_after: int = REGISTER_AFTER,
        send_within: float = SEND_WITHIN,
    ) -> None:
        self._connection = connection
        self._machine = machine
        self._hostname = hostname
        self._labels = labels
        self._start = start
        self._after = after
        self._controllers = controllers
        self._questions = questions
        self._ledger = ledger
        self._capabilities = capabilities
        self._survey = survey
        self._conditions = Watch()
        self._running_tasks = running_tasks
        self._public_key = public_key
        self._trusts = trusts
        self._inventory = inventory
        self._told = told
        self._subscribed = subscribed
        self._taken = taken
        self._set_interval(interval)
        self._shortest_pause = shortest_pause
        self._registered = False
        self._second = False
        """Whether another agent with this identity counts, by the last answer that came."""
        self._renewals = 0
        self._unanswered = 0
        self._register_after = register_after
        self._send_within = send_within
        self._begun = running()
        self._moments: tuple[float, float] | None = None
        """When the agent and the machine were started, as the node has registered them."""
        self._due = asyncio.Event()
        self._asked: asyncio.TimerHandle | None = None
        self.sent = asyncio.Event()

    @property
    def interval(self) -> float:
        """How many seconds lie between heartbeats."""
        return self._interval

    def register_anew(self) -> None:
        """Register now: the controllers may have lost what they knew of the node, or it changed."""
        self._registered = False
        self._renewals += 1
        self._due.set()

    def send_now(self) -> None:
        """Send the next heartbeat now: something has changed."""
        self._due.set()

    def asked(self, order: BeatNow) -> None:
        """Send one as a controller asks all nodes to, at a random moment of the time it gives."""
        self._set_interval(order.interval)
        self._told(order.trusts, order.renew_within)
        loop = asyncio.get_running_loop()
        moment = loop.time() + random.uniform(0.0, min(order.spread, self._interval))
        if self._asked is not None:
            # Several controllers may ask: the first moment counts.
            if self._asked.when() <= moment:
                return
            self._asked.cancel()
        self._asked = loop.call_at(moment, self._answer)

    def _answer(self) -> None:
        self._asked = None
        self._due.set()

    def _set_interval(self, seconds: float) -> None:
        self._interval = min(max(seconds, SHORTEST_INTERVAL), LONGEST_INTERVAL)

    async def run(self) -> None:
        """Send heartbeats, for ever."""
        pauses = Pauses(self._shortest_pause, LONGEST_PAUSE)
        while True:
            await self._connection.client()
            # At each connection anew: what a heartbeat brings would be missed.
            await self._subscribed()
            self._due.clear()
            if not self._registered:
                try:
                    await self._register()
                except BrokerUnreachable as error:
                    log.warning("not registered yet", reason=error.details)
                    if isinstance(error, SecondAgent):
                        self._second = True
                        # One controller was asked, and all are to know of it.
                        shown = Heartbeat(self._start, interval=self._interval, second=True)
                        await self._send(shown)
                    await pauses.wait()
                    continue
                self._second = False
                pauses.reset()
                if not self.sent.is_set():
                    await self._taken()
            await self._send(self._heartbeat())
            self.sent.set()
            # Where there was no room for it, this finds out whether anybody reads.
            await self._connection.check(self._interval)
            await self._look_who_is_there()
            await asyncio.sleep(SHORTEST_INTERVAL)
            await within(self._interval - SHORTEST_INTERVAL, self._due.wait())

    async def _look_who_is_there(self) -> None:
        """Register once more now and then: a heartbeat is not answered, whoever receives it."""
        self._unanswered += 1
        few = self._register_after // 4 if self._connection.clustered else self._register_after
        if self._unanswered < few and not self._controllers.clock_doubted:
            return
        renewals = self._renewals
        try:
            await self._register()
        except BrokerUnreachable as error:
            # Whoever receives its heartbeats over this connection knows the node all the same.
            log.debug("nobody answers", reason=error.details)
            self._registered = renewals == self._renewals

    async def close(self) -> None:
        """Send the last heartbeat: this node goes away of its own will."""
        if self._asked is not None:
            self._asked.cancel()
        if self._second or not self.sent.is_set():
            # With a copy of its ledger this would be taken for a word of the one that is here.
            return
        await self._send(
            Heartbeat(self._start, interval=self._interval, after=self._after, leaving=True)
        )

    async def _send(self, beat: Heartbeat) -> None:
        subject, body = heartbeat_subject(self._machine), msgspec.json.encode(beat)
        await within(self._send_within, self._connection.publish(subject, body))

    def _heartbeat(self) -> Heartbeat:
        try:
            held = self._ledger.held(MOST_NAMED + 1)
        except sqlite3.Error as error:
            # What is released once more is known here, or refused while it can't be read.
            log.error("ledger not readable", reason=str(error))
            held = []
        load, memory = host.load_average(), host.memory()
        return Heartbeat(
            self._start,
            interval=self._interval,
            after=self._after,
            capabilities={
                clean_name(name): clean(trouble)
                for name, trouble in self._capabilities.troubles.items()
            },
            running=self._running_tasks(),
            tasks=pack(held[:MOST_NAMED]),
            more=len(held) > MOST_NAMED,
            load=load,
            memory=memory,
            conditions=self._conditions.look(
                memory, load, self._survey.facts.cpu_count, self._survey.seen.fullest
            ),
            refused=self._controllers.refused,
            refusal=clean(self._controllers.refusal),
            inventory=self._inventory(),
        )

    async def _register(self) -> None:
        """Register the node; raises `BrokerUnreachable`."""
        # Before it is asked: who is connected anew meanwhile registers anew.
        self._registered = True
        try:
            answer = await self._questions.register(self._registration())
        except BaseException:
            self._registered = False
            raise
        self._unanswered = 0
        self._ledger.use(answer.time)
        if answer.interval is not None:
            self._set_interval(answer.interval)
        self._told(answer.trusts, 0.0)
        if not self.sent.is_set():
            log.info("agent registered", machine=self._machine, hostname=self._hostname)

    def _since(self, booted: float) -> tuple[float, float]:
        """Return when the agent and the machine were started, by this node's clock.

        Each is found from how long it is ago: the clock may have been set right since. What differs
        by less than a second is the same: controllers store a registration that is another one.
        """
        found = clean_moment(time.time() - (running() - self._begun)), clean_moment(booted)
        known = self._moments
        if known is None or any(abs(a - b) > 1.0 for a, b in zip(found, known, strict=True)):
            self._moments = known = found
        return known

    def _registration(self) -> Registration:
        started, booted = self._since(host.booted())
        return Registration(
            machine=self._machine,
            hostname=self._hostname,
            version=__version__,
            started=started,
            labels={label.key: label.value for label in self._labels},
            booted=booted,
            public_key=self._public_key,
            start=self._start,
            after=self._after,
            facts=self._survey.facts,
            trusts=self._trusts(),
        )
