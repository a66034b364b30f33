"""The sets that were declared, and how far each is, as all controllers know them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable

import msgspec
import structlog

from towline.broker.answers import WrongLastSequence
from towline.broker.bucket import Bucket, Entry
from towline.broker.jetstream import JetStream
from towline.controller.sets.record import Change, SetRecord, SetState, bounded
from towline.errors import BrokerError, BrokerUnreachable, Conflict, NotFound
from towline.runtime.part import notify
from towline.runtime.pauses import within
from towline.wire.reference import Reference
from towline.wire.target import is_any, parse_target
from towline.wire.window import Window

log = structlog.get_logger()

RECORDS, STATES = "sets", "set_states"
MAX_FOLLOWERS = 1000
"""Controllers that may follow a bucket at a time."""
MOST_SETS = 1000
"""Sets that there may be: each is looked at whenever a node changes."""
MOST_IMAGES = 100
"""Images of a set; with the limits in `record.py` its state stays below half a megabyte, and a
message of the broker may have one."""
LOST = "what was stored of the set could not be read: resume it to have it begin anew"
KNOWN_WITHIN = 5.0
"""Seconds that a request waits for a controller that was just started to know the sets."""
REMEMBERED_FOR = 86400.0
"""Seconds for which is kept that a set was removed: all controllers learn of it meanwhile."""
PRUNED_AT_ONCE = 100
"""Records of such sets that are forgotten whenever one changes, at most."""
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def _key(name: str) -> str:
    # A dot would part the subject of the key.
    return name.replace(".", "=")


class Sets:
    """The sets and their states: stored once for all controllers, and followed by each.

    Args:
        most: how many sets there may be; see the constant.
        remembered_for: seconds; see the constant.

    Attributes:
        known: set once this controller has read what was there when it was started.
    """

    def __init__(
        self,
        jetstream: JetStream,
        *,
        most: int = MOST_SETS,
        remembered_for: float = REMEMBERED_FOR,
    ) -> None:
        self._bucket = Bucket(jetstream, RECORDS, SetRecord, max_consumers=MAX_FOLLOWERS)
        self._states = Bucket(jetstream, STATES, SetState, max_consumers=MAX_FOLLOWERS)
        self._most = most
        self._remembered_for = remembered_for
        self._records: dict[str, SetRecord] = {}
        """By name, those that were removed a while ago among them."""
        self._kept: dict[str, SetState] = {}
        self._sequences: dict[tuple[str, str], int] = {}
        """The places of these in their buckets, by bucket and key."""
        self._read: set[tuple[str, str]] = set()
        """What has been come upon since a bucket was read from its beginning."""
        self._unread = {RECORDS, STATES}
        self._listeners: list[Callable[[], None]] = []
        self.known = asyncio.Event()

    async def create(self, replicas: int) -> None:
        """Make the buckets where they don't exist; raises as `Bucket.create`."""
        await self._bucket.create(replicas)
        await self._states.create(replicas)

    async def run(self) -> None:
        """Learn of all sets and of what comes of them, at whichever controller, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_records())
            group.create_task(self._follow_states())

    async def _follow_records(self) -> None:
        async for change in self._bucket.follow(lambda: self._all_read(RECORDS)):
            try:
                _check(change.key, change.value)
            except ValueError as error:
                self._bucket.count_unreadable(change.key, error)
                continue
            self._take(change.value, change.sequence)
            if change.live:
                await self._prune()

    async def _follow_states(self) -> None:
        async for change in self._states.follow(lambda: self._all_read(STATES)):
            self._take_state(change.key, change.value, change.sequence)

    def _all_read(self, bucket: str) -> None:
        """Forget what is not there any more: nothing may ever have said so."""
        gone = [
            place for place in self._sequences if place[0] == bucket and place not in self._read
        ]
        for place in gone:
            del self._sequences[place]
            (self._records if bucket == RECORDS else self._kept).pop(_name(place[1]), None)
        self._read = {place for place in self._read if place[0] != bucket}
        self._unread.discard(bucket)
        if not self._unread:
            self.known.set()
            self._tell()

    def _newer(self, bucket: str, key: str, sequence: int) -> bool:
        """Note that a value was come upon; return whether it is newer than what is known."""
        place = (bucket, key)
        self._read.add(place)
        if sequence <= self._sequences.get(place, 0):
            return False
        self._sequences[place] = sequence
        return True

    def _take(self, record: SetRecord, sequence: int) -> None:
        if self._newer(RECORDS, _key(record.name), sequence):
            self._records[record.name] = record
            self._tell()

    def _take_state(self, key: str, state: SetState, sequence: int) -> None:
        if self._newer(STATES, key, sequence):
            self._kept[_name(key)] = state
            self._tell()

    def _tell(self) -> None:
        if self.known.is_set():
            notify(self._listeners)

    # Questions

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when the sets are known, and whenever one or its state changes."""
        self._listeners.append(changed)

    async def until_known(self) -> None:
        """Wait until it is known which sets there are.

        Raises:
            BrokerUnreachable: that takes too long.
        """
        if not await within(KNOWN_WITHIN, self.known.wait()):
            raise BrokerUnreachable(
                "This controller does not know yet which sets there are: try again in a few "
                "seconds.",
                "It was started a moment ago, or the broker is out of reach",
            )

    def all(self) -> list[SetRecord]:
        """Return the sets, the oldest first: of two that contradict each other it wins."""
        found = [record for record in self._records.values() if record.removed is None]
        return sorted(found, key=age)

    def get(self, name: str) -> SetRecord | None:
        """Return the set of a name, or None."""
        found = self._records.get(name)
        return found if found is not None and found.removed is None else None

    async def named(self, name: str) -> SetRecord:
        """Return the set of a name, be it one that another controller has stored a moment ago.

        Raises:
            NotFound: there is none.
            BrokerError: it isn't known.
        """
        record = self.get(name)
        if record is None:
            record, sequence = await self.newest(name)
            if record is None:
                raise none_called(name)
            self._take(record, sequence)
        return record

    def state(self, name: str) -> SetState:
        """Return what has come of a set, of the images that it wants; of none an empty one."""
        record = self.get(name)
        return SetState(id="") if record is None else state_of(record, self._kept.get(name))

    def wanted(self, by: Iterable[SetRecord] | None = None) -> list[str]:
        """Return what sets want, sorted: `DOMAIN/PATH:TAG`, and `DOMAIN/PATH@sha256:…` of the
        digests that nodes are to have by now, or soon.

        Args:
            by: which sets; None for all.
        """
        found: set[str] = set()
        for record in self.all() if by is None else by:
            for image in self.state(record.name).images:
                reference = Reference.parse(image.image)
                found |= {
                    f"{reference.repository}@{digest}"
                    for digest in (image.current, image.next)
                    if digest
                }
            for each in record.images:
                reference = Reference.parse(each.image)
                if reference.tag is not None:
                    found.add(f"{reference.repository}:{reference.tag}")
                if reference.digest is not None:
                    found.add(reference.pulled)
        return sorted(found)

    # Changes

    async def put(self, record: SetRecord, last: int) -> None:
        """Store a declaration.

        Args:
            last: the place in the bucket of that before, as `newest` says it.

        Raises:
            WrongLastSequence: somebody else was faster.
            BrokerRefused: it was not stored.
            BrokerUnreachable: it may or may not have been stored.
        """
        self._take(record, await self._bucket.put(_key(record.name), record, last=last))

    async def newest(self, name: str) -> tuple[SetRecord | None, int]:
        """Return the declaration that counts, whichever controller has stored it, and its place.

        Raises:
            BrokerError: it isn't known.
        """
        entry = await self._bucket.get(_key(name))
        if entry is None or entry.value is None:
            return None, 0
        record = entry.value
        return (record if record.removed is None else None), entry.sequence

    async def declare(
        self, name: str, make: Callable[[SetRecord | None], SetRecord]
    ) -> tuple[SetRecord, SetRecord | None]:
        """Store what `make` makes of the newest declaration of a name; return it, and that before.

        Args:
            make: it is given None where there is no such set. It may be called again with a newer
                one, and may raise to leave things as they are. What is the same is not stored.

        Raises:
            Conflict: there are as many sets as there may be.
            BrokerRefused: it was not stored.
            BrokerUnreachable: it may or may not have been stored.
        """
        await self.until_known()
        while True:
            before, last = await self.newest(name)
            record = make(before)
            if record == before:
                self._take(record, last)
                return record, before
            if before is None and len(self.all()) >= self._most:
                raise Conflict(
                    f"There are {self._most} sets already, and no more may be declared.",
                    "Put more images or nodes into one, or remove one that nobody needs",
                )
            try:
                await self.put(record, last)
            except WrongLastSequence:
                continue
            return record, before

    async def remove(
        self, name: str, by: str, allow: Callable[[SetRecord], None] = lambda record: None
    ) -> SetRecord:
        """Remove a set, and what has come of it; return what it was.

        Args:
            by: who does so.
            allow: raises to leave it as it is; it may be called again with a newer declaration.

        Raises:
            NotFound: there is none.
            BrokerRefused: it was not removed.
            BrokerUnreachable: it may or may not have been removed.
        """
        while True:
            record, last = await self.newest(name)
            if record is None:
                raise none_called(name)
            allow(record)
            state = await self._states.get(_key(name))
            now = time.time()
            removed = msgspec.structs.replace(
                record, images=[], changed=now, changed_by=by, removed=now
            )
            try:
                await self.put(removed, last)
            except WrongLastSequence:
                continue
            if state is not None:
                # Not that of one of its name that was made since.
                await self._states.purge(_key(name), up_to=state.sequence)
            if (kept := self._kept.get(name)) is not None and kept.id == record.id:
                del self._kept[name]
            log.info("set removed", set=name, by=by)
            return record

    async def change(
        self,
        name: str,
        alter: Callable[[SetState], SetState],
        allow: Callable[[SetRecord], None] = lambda record: None,
    ) -> SetState:
        """Store what `alter` makes of the newest state of a set; return that.

        Where what is stored can't be read, nobody knows whether the set was paused, or what was
        rejected: it is paused then, until people have it go on.

        Args:
            alter: it may be called again with a newer state, and may raise to leave it as it is.
                Where it returns what it was given, nothing is stored.
            allow: called with the newest declaration before each of that; it may raise likewise.

        Raises:
            NotFound: there is no such set.
            ValueError: no controller could read it back: it was not stored.
            BrokerRefused: it was not stored.
            BrokerUnreachable: it may or may not have been stored.
        """
        key = _key(name)
        while True:
            # In this order: of a set that is made anew meanwhile no state is replaced.
            entry = await self._states.get(key)
            record, _ = await self.newest(name)
            if record is None:
                raise none_called(name)
            allow(record)
            lost = entry is not None and entry.unreadable
            before = _lost(record) if lost else state_of(record, entry.value if entry else None)
            state = bounded(alter(before))
            if state == before and not lost:
                return before
            msgspec.json.decode(msgspec.json.encode(state), type=SetState)
            try:
                sequence = await self._states.put(key, state, last=_place(entry))
            except WrongLastSequence:
                continue
            self._take_state(key, state, sequence)
            return state

    async def _prune(self) -> None:
        """Forget which sets were removed a while ago; another controller may come first."""
        before = time.time() - self._remembered_for
        over = [
            record
            for record in self._records.values()
            if record.removed is not None and record.removed <= before
        ]
        try:
            for record in over[:PRUNED_AT_ONCE]:
                key = _key(record.name)
                await self._bucket.purge(key, up_to=self._sequences[RECORDS, key])
                if self._records.get(record.name) == record:
                    del self._records[record.name]
        except BrokerError as error:
            log.warning("removed sets not forgotten yet", reason=error.details)


def age(record: SetRecord) -> tuple[float, str]:
    """Return what sets are sorted by, the oldest first."""
    return record.created, record.id


def state_of(record: SetRecord, kept: SetState | None) -> SetState:
    """Return what has come of a set, of the images that it wants, in its order.

    Args:
        kept: what is kept under its name: it may be that of a set that is gone.
    """
    if kept is None or kept.id != record.id:
        return SetState(record.id)
    found = {(each.image, each.platform): each for each in kept.images}
    wanted = ((each.image, each.platform) for each in record.images)
    images = [found[each] for each in wanted if each in found]
    return kept if images == kept.images else msgspec.structs.replace(kept, images=images)


def _lost(record: SetRecord) -> SetState:
    """Return what has come of a set of which what was stored can't be read."""
    now = time.time()
    change = Change(now, record.caller, "paused", record.generation, reason=LOST)
    return SetState(record.id, paused=now, paused_by=record.caller, history=[change])


def none_called(name: str) -> NotFound:
    """Return the error of a set that there is not."""
    return NotFound(f"There is no set {name[:80]!r}.", "GET /set shows those that there are")


def _name(key: str) -> str:
    return key.replace("=", ".")


def _place(entry: Entry[SetState] | None) -> int:
    """Return what a new value has to be stored behind."""
    return 0 if entry is None or entry.value is None else entry.sequence


def _check(key: str, record: SetRecord) -> None:
    """Raise `ValueError` where a record is none that this version could have stored."""
    if not NAME.fullmatch(record.name) or _key(record.name) != key:
        raise ValueError(f"the name is {record.name[:80]!r}")
    if is_any(parse_target(record.target)):
        raise ValueError(f"the target is {record.target[:80]!r}")
    for each in record.images[: MOST_IMAGES + 1]:
        Reference.parse(each.image)
    if len(record.images) > MOST_IMAGES:
        raise ValueError(f"it has more than {MOST_IMAGES} images")
    if record.window:
        Window.parse(record.window)
