"""The inventories of all nodes, received from them, and asked for where they differ."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Collection, Mapping, Set

import msgspec

from towline.broker.connection import Connection
from towline.broker.listener import Listener, Received
from towline.broker.repeated import Repeated
from towline.controller.budget import Budget
from towline.controller.fleet import Fleet
from towline.controller.inventory.fold import MOST, Known, too_much
from towline.controller.inventory.kept import Kept
from towline.controller.inventory.rows import Row, Rows
from towline.controller.jobs.index import Index
from towline.controller.member import Member
from towline.runtime.part import keep_running
from towline.trust.signing import Signer, order_for
from towline.wire import messages
from towline.wire.inventory import ImageHeld
from towline.wire.platform import Platform
from towline.wire.reference import Reference
from towline.wire.release import Recount
from towline.wire.subjects import INVENTORIES, task_subject

GRACE = 1.0
"""Seconds after which a node is asked whose heartbeat says another hash than is known: what it has
sent of that may be on its way."""
ASK_EVERY = 3.0
LONGEST_PAUSE = 300.0
"""Seconds after which a node is asked again that has not sent what it says to have: at first, and
at most. They double, since one whose messages are lost, or that a newer agent hashes in another
way, is asked in vain."""
ASKED_PER_SECOND = 200.0
"""Nodes that are asked a second, by each controller: to fold what one of 60 images sends takes half
a millisecond, so that 10,000 that are all unknown take a tenth of a core for a minute."""
TICK = 0.1
"""Seconds between looks at who is to be asked, while there is anybody."""
IMAGES_FOR_ONE = 25
"""Images for which a message counts as one more against what its node may send."""
AHEAD = 10.0
"""Seconds by which other controllers may have heard a node later than this one, and yet have heard
nothing else: their clocks differ, and the last heartbeat may have reached them alone."""
DOUBT_EVERY = 10.0
"""Seconds between looks for nodes that are away, and that others have heard later."""
KEEP_EVERY = 2.0
"""Seconds after which is kept what has become known."""
_DIGITS = bytes.maketrans(b"\0\1", b"01")


class About(msgspec.Struct, frozen=True):
    """Nodes that are asked about.

    Attributes:
        nodes: those of which is known what they have: their bits are set, see `Row.nodes`.
        count: how many they are, with those of which it isn't known.
        everywhere: whether these are all.
    """

    nodes: int
    count: int
    everywhere: bool = False

    @property
    def unknown(self) -> int:
        """Of how many it is unknown what they have."""
        return max(0, self.count - self.nodes.bit_count())


class Inventories:
    """What is on which node, as this controller knows it.

    Args:
        nodes: the connection to the nodes' account.
        signer: signs what is sent.
        budget: what each node may send.
        index: in whose file what is known is kept.
        fleet_known: set once it is known which nodes there are, and which of them are here.
        grace, ask_every, longest_pause, ahead, doubt_every, keep_every: seconds; see the constants.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        nodes: Connection,
        signer: Signer,
        fleet: Fleet,
        budget: Budget,
        index: Index,
        fleet_known: asyncio.Event,
        *,
        grace: float = GRACE,
        ask_every: float = ASK_EVERY,
        longest_pause: float = LONGEST_PAUSE,
        ahead: float = AHEAD,
        doubt_every: float = DOUBT_EVERY,
        keep_every: float = KEEP_EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = nodes
        self._signer = signer
        self._fleet = fleet
        self._budget = budget
        self._grace = grace
        self._ask_every = ask_every
        self._longest_pause = longest_pause
        self._ahead = ahead
        self._doubt_every = doubt_every
        self._keep_every = keep_every
        self._kept = Kept(index)
        self._until = 0.0
        """When this controller listened last, in seconds since 1970."""
        self._fleet_known = fleet_known
        self._clock = clock
        self.rows = Rows()
        self._known: dict[str, Known] = {}
        self._machines: list[str] = []
        """Machine ids by their numbers; "" for a number that is free."""
        self._free: list[int] = []
        self._everybody = 0
        """The bits of all nodes of which is known what they have."""
        self._due: list[tuple[float, str]] = []
        """When nodes are to be asked: a heap. Some have become needless."""
        self._wanted = asyncio.Event()
        self._listeners: list[Callable[[set[str]], None]] = []
        self._too_much = Repeated(
            "a node has more images than may be known of one: remove some there, or their names"
        )
        self._listener = Listener(nodes, INVENTORIES, budget.limited(self._receive))
        self.asked = 0
        """How often nodes were asked for what they have."""
        fleet.subscribe_heartbeats(self._beat)
        fleet.subscribe(self._moved)

    def subscribe(self, changed: Callable[[set[str]], None]) -> None:
        """Have `changed` called with the machine ids of nodes of which other things are known.

        Or of which it is now otherwise than before whether what is known is settled.
        """
        self._listeners.append(changed)

    # Questions

    def of(self, machine: str) -> Mapping[str, ImageHeld] | None:
        """Return what is on a node, by the engine's id; None where that is unknown."""
        known = self._known.get(machine)
        if known is None or known.rows is None:
            return None
        return {key: row.image for key, row in known.rows.items()}

    def rows_of(self, machine: str) -> Collection[Row]:
        """Return what is on a node as it is kept; nothing where that is unknown."""
        known = self._known.get(machine)
        return () if known is None or known.rows is None else known.rows.values()

    def knows(self, machine: str) -> bool:
        """Return whether it is known what a node has."""
        known = self._known.get(machine)
        return known is not None and known.rows is not None

    def settled(self, machine: str) -> bool:
        """Return whether what is known of a node is what it has said last, or said when it went."""
        known = self._known.get(machine)
        if known is None or known.rows is None:
            return False
        return known.fits or not self._fleet.is_here(machine)

    def holds(self, machine: str, image: Reference, digest: str, platform: str = "") -> bool | None:
        """Return whether a node has a digest in an image's repository; None where that is unknown.

        Where the reference has a tag, the node has to have it under that name, too.

        Args:
            digest: `sha256:…`.
            platform: what it has to be for, unless the node doesn't say what it is for; "" for any.
        """
        known = self._known.get(machine)
        if known is None or known.rows is None:
            return None
        bit = known.bit
        alike = self.rows.by_key.get(digest)
        rows: Collection[Row] = () if alike is None else alike.rows
        if len(rows) > len(known.rows):
            # One node may have thousands of images of that digest: no other is looked through them.
            rows = known.rows.values()
        for row in rows:
            if not row.nodes & bit or image.repository not in row.digests.get(digest, ()):
                continue
            held = row.image
            if image.tag is not None and f"{image.repository}:{image.tag}" not in held.names:
                continue
            if not platform or not held.platform or _same(platform, held.platform):
                return True
        return False

    def number(self, machine: str) -> int | None:
        """Return the number of a node; None where it is unknown what it has."""
        known = self._known.get(machine)
        return None if known is None or known.rows is None else known.number

    def counts(self) -> tuple[int, int, int, int]:
        """Return of how many nodes it is known what they have; of how many of these that is what
        they have said last; how often nodes were asked; and how many images there are."""
        settled = sum(self.settled(machine) for machine in self._known)
        return self._everybody.bit_count(), settled, self.asked, len(self.rows)

    @property
    def bytes(self) -> int:
        """How many bytes the bits of all nodes take."""
        return len(self._machines) // 8 + 1

    def about(self, machines: Set[str]) -> About:
        """Return some nodes as they are asked about, by their machine ids."""
        # Digit by digit, the last number's first: a look at each node would take 20 times as long.
        flags = bytes(map(machines.__contains__, reversed(self._machines)))
        bits = int(flags.translate(_DIGITS) or b"0", 2)
        return About(bits & self._everybody, len(machines))

    def about_all(self) -> About:
        """Return all nodes that are registered, but for those that were shut out."""
        shut = sum(self._fleet.get(machine) is not None for machine in self._fleet.shut_out)
        return About(self._everybody, self._fleet.registered - shut, everywhere=True)

    # What becomes known

    async def run(self) -> None:
        """Receive and ask, for ever."""
        async with asyncio.TaskGroup() as group:
            # What comes meanwhile is newer than what was kept.
            group.create_task(keep_running("inventories", self._listener.run))
            await self._read()
            for name, run in {
                "asking for inventories": self._ask,
                "outdated inventories": self._doubt,
                "keeping inventories": self._keep,
            }.items():
                group.create_task(keep_running(name, run))

    async def _read(self) -> None:
        """Know what was kept of nodes of which nothing newer is known."""
        self._until = self._kept.until
        async for machine, hash, rows in self._kept.read():
            known = self._known_of(machine)
            if known.rows is None and not too_much(rows):
                known.become({row.image.id: row for row in rows}, hash, self.rows)
                known.said = known.said or hash
                self._everybody |= known.bit
                self._tell({machine})

    async def _keep(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._keep_every)
                await self.keep()
        finally:
            await self.keep()

    async def keep(self) -> None:
        """Keep what has become known since this was done before."""
        if self._connection.connected:
            self._until = self._fleet.clock.wall()
        await self._kept.write(self._known, self.rows, self._until)

    def _receive(self, received: Received) -> None:
        machine, message = messages.inventory(received.subject, received.data)
        member = self._fleet.get(machine)
        if member is None or machine in self._fleet.shut_out or member.start != message.start:
            return  # its next heartbeat says what it has, where that counts
        known = self._known_of(machine)
        before = self.settled(machine)
        outcome = known.take(message, self.rows)
        count = len(message.images) + (0 if known.rows is None else len(known.rows))
        self._budget.spend(machine, count / IMAGES_FOR_ONE)
        if outcome == "taken":
            known.due, known.pause = None, 0.0
            self._everybody |= known.bit
            self._notify({machine})
            return
        if outcome == "differs" and message.base:
            self._hasten(machine, known)
        if outcome == "too much":
            self._too_much.warning(machine=machine, hostname=member.hostname, most=MOST)
        self._want(machine, known, self._grace if outcome == "waits" else 0.0)
        if before != self.settled(machine):
            self._notify({machine})

    def _beat(self, member: Member) -> None:
        """Take what a heartbeat says of what the node has."""
        said = "" if member.heartbeat is None else member.heartbeat.inventory
        known = self._known.get(member.machine)
        if known is None:
            if not said:
                return
            known = self._known_of(member.machine)
        if said != known.said:
            before = self.settled(member.machine)
            known.said = said
            self._hasten(member.machine, known)
            if before != self.settled(member.machine):
                self._notify({member.machine})
        if said and said != known.hash:
            self._want(member.machine, known, self._grace)

    def _moved(self, machines: set[str]) -> None:
        """Take it that nodes came or went, or were shut out."""
        changed = set()
        for machine in machines & self._known.keys():
            member = self._fleet.get(machine)
            if member is None or machine in self._fleet.shut_out:
                self._drop(machine)
            elif not member.here:
                self._forget_outdated(member)
            changed.add(machine)
        if changed:
            self._notify(changed)

    def _notify(self, machines: set[str]) -> None:
        """Keep what is known of some nodes by now, and tell that it is something else."""
        for machine in machines:
            self._kept.change(machine)
        self._tell(machines)

    def _tell(self, machines: set[str]) -> None:
        for changed in self._listeners:
            changed(machines)

    def _known_of(self, machine: str) -> Known:
        known = self._known.get(machine)
        if known is None:
            number = self._free.pop() if self._free else len(self._machines)
            if number == len(self._machines):
                self._machines.append("")
            self._machines[number] = machine
            known = self._known[machine] = Known(number)
        return known

    def _drop(self, machine: str) -> None:
        """Keep nothing of a node."""
        known = self._known.pop(machine)
        known.forget(self.rows)
        self._everybody &= ~known.bit
        self._machines[known.number] = ""
        self._free.append(known.number)

    def _forget_outdated(self, member: Member) -> bool:
        """Know nothing of a node that went, and of which not all it said has arrived here.

        Return whether anything was known.
        """
        known = self._known[member.machine]
        if known.rows is None or not self._is_outdated(member, known):
            return False
        known.forget(self.rows)
        self._everybody &= ~known.bit
        return True

    def _is_outdated(self, member: Member, known: Known) -> bool:
        # It may have been heard to say something newer than its last heartbeat does; or that, since
        # its agent was started, its engine hasn't answered.
        if not known.fits:
            return True
        heard = self._kept.until if member.received is None else member.received.time
        return member.kept is not None and member.kept > heard + self._ahead

    async def _doubt(self) -> None:
        """Look for nodes that went while this controller didn't hear them, and others did."""
        await self._fleet_known.wait()
        self._moved({each for each in self._known if not self._fleet.is_here(each)})
        while True:
            await asyncio.sleep(self._doubt_every)
            gone = {
                member.machine
                for member in self._fleet.members()
                if not member.here
                and member.machine in self._known
                and self._forget_outdated(member)
            }
            if gone:
                self._notify(gone)

    # Asking

    def _want(self, machine: str, known: Known, within: float) -> None:
        """Have a node asked that was not asked a moment ago, unless it says by then what it has."""
        if known.due is None:
            known.due = max(self._clock() + within, known.asked + self._ask_every)
            heapq.heappush(self._due, (known.due, machine))
            self._wanted.set()

    def _hasten(self, machine: str, known: Known) -> None:
        """Have a node that has something new asked as if it had never been asked in vain."""
        known.pause = 0.0
        soon = max(self._clock() + self._grace, known.asked + self._ask_every)
        if known.due is not None and known.due > soon:
            known.due = None
            self._want(machine, known, self._grace)

    async def _ask(self) -> None:
        while True:
            await self._wanted.wait()
            for machine in self._to_be_asked(ASKED_PER_SECOND * TICK):
                await self._ask_one(machine)
            if not self._due:
                self._wanted.clear()
            await asyncio.sleep(TICK)

    def _to_be_asked(self, most: float) -> list[str]:
        """Return the nodes that are to be asked now, `most` at most."""
        now, found = self._clock(), list[str]()
        while self._due and self._due[0][0] <= now and len(found) < most:
            when, machine = heapq.heappop(self._due)
            known = self._known.get(machine)
            if known is None or known.due != when:
                continue
            known.due = None
            if known.fits or not self._fleet.is_here(machine):
                continue
            found.append(machine)
            known.asked = now
            known.pause = min(2 * known.pause or self._ask_every, self._longest_pause)
            self._want(machine, known, known.pause)
        return found

    async def _ask_one(self, machine: str) -> None:
        member = self._fleet.get(machine)
        if member is None:
            return
        self.asked += 1
        subject = task_subject(machine, member.start)
        order = Recount(machine, time.time())
        await self._connection.publish(subject, self._signer.seal(order, order_for(subject, "")))


def _same(one: str, other: str) -> bool:
    """Return whether two texts are the same platform; what is none is the same as nothing."""
    try:
        return Platform.parse(one) == Platform.parse(other)
    except ValueError:
        return False
