"""What keeps sets true: one controller at a time does what the rule says, by ordinary jobs.

Another takes over within seconds. That nothing happens twice does not depend on there being one:
the key of a job is made of what all controllers know, and what is kept of a set is changed only
behind what its author knew of.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

import structlog

from towline.broker.repeated import Repeated
from towline.controller.fleet import Fleet
from towline.controller.inventory.inventories import Inventories
from towline.controller.jobs.index import Index
from towline.controller.jobs.lookup import Lookup
from towline.controller.jobs.open import OpenJobs
from towline.controller.jobs.previews import Previews
from towline.controller.jobs.state import JobState
from towline.controller.jobs.submit import Submitter
from towline.controller.member import Member
from towline.controller.moment import LocalClock
from towline.controller.rollout.decisions import Decisions
from towline.controller.rollout.lease import Lease
from towline.controller.sets import changes, rule
from towline.controller.sets.attempts import Attempts, Brings, brings
from towline.controller.sets.making import Making
from towline.controller.sets.picture import Picture
from towline.controller.sets.pulling import Pulling
from towline.controller.sets.record import CALLER, ImageState, SetRecord, SetState
from towline.controller.sets.resolution import Resolution
from towline.controller.sets.sets import Sets
from towline.controller.sets.situation import Situations
from towline.controller.sets.standing import Node, images, obstacle_of, pulled
from towline.controller.sets.view import Standings, View
from towline.errors import NotFound, TowlineError
from towline.runtime.pauses import within
from towline.wire.event import CANCELLING, DELETED, WITHHELD, Event
from towline.wire.reference import Reference

log = structlog.get_logger()

LOOK_EVERY = 2.0
"""Seconds between looks without an event: the lease is renewed then."""
GATHERED_FOR = 1.0
"""Seconds for which changes of nodes are gathered: thousands that join together are few jobs."""
FILLED_EVERY = 5.0
"""Seconds between two jobs that fill in the same image of a set: nodes that join one by one."""
SHORTEST = 0.05
"""Seconds between two looks by time alone, at least."""
AGAIN_AFTER = 5.0
"""Seconds before something is done again for a set that has just failed."""


class Reconciler:
    """Keeps the sets true, as far as this controller is the one to.

    Args:
        able: set while this controller may send and decide.
        lease: that of whoever keeps the sets.
        clock: this machine's clocks.
        gathered_for, filled_every, look_every: seconds; see the constants.
    """

    def __init__(
        self,
        sets: Sets,
        fleet: Fleet,
        inventories: Inventories,
        jobs: OpenJobs,
        index: Index,
        lookup: Lookup,
        submitter: Submitter,
        previews: Previews,
        decisions: Decisions,
        lease: Lease,
        able: asyncio.Event,
        *,
        clock: LocalClock | None = None,
        gathered_for: float = GATHERED_FOR,
        filled_every: float = FILLED_EVERY,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._sets = sets
        self._fleet = fleet
        self._inventories = inventories
        self._open = jobs
        self._decisions = decisions
        self._lease = lease
        self._able = able
        self._clock = clock = clock or LocalClock()
        self._gathered_for = gathered_for
        self._filled_every = filled_every
        self._look_every = look_every
        self.attempts = Attempts(clock)
        self._situations = Situations(*(sets, fleet, jobs, lookup, self.attempts, clock, self._at))
        self._making = Making(submitter, index, clock)
        self._resolution = Resolution(
            *(previews, Pulling(self._making, inventories).digest, sets.change),
            *(lambda: lease.valid, clock, self._look_at_once),
        )
        self.standings = Standings(fleet, inventories, sets, jobs, self.attempts, clock)
        self._pictures: dict[str, Picture] = {}
        """By the sets' ids; of the controller that keeps them true alone."""
        self._generations: dict[str, tuple[str, int, float | None]] = {}
        self._digests: dict[str, list[tuple[str, str]]] = {}
        """What each set wanted when that was looked at last, current and next."""
        self._changed: set[str] = set()
        """The machine ids of nodes of which something has changed."""
        self._again = False
        """Whether to look at all nodes again that don't stand well."""
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._until: float | None = None
        """When to look by time alone, in seconds since the machine was started."""
        self._leading_since = self._renewed = 0.0
        self._version = -1
        self._troubled: set[str] = set()
        self._not_before: dict[tuple[str, ...], float] = {}
        """Before when nothing is done for a set, or filled in for an image of one, likewise."""
        self._failures = Repeated("set not kept true just now")
        sets.subscribe(self._sets_changed)
        fleet.subscribe(self._nodes_changed)
        fleet.subscribe_heartbeats(self._heartbeat)
        inventories.subscribe(self._inventories_changed)
        jobs.subscribe(self._turned)

    # What there is to look at

    def _sets_changed(self) -> None:
        for record in self._sets.all():
            # Who has declared it anew, or has it go on, waits for no pause.
            state = self._sets.state(record.name)
            known = (record.id, record.generation, state.renewed)
            if self._generations.get(record.name) != known:
                self._generations[record.name] = known
                self.attempts.anew(record.caller)
                self._again = True
            digests = [(each.current, each.next) for each in state.images]
            if self._digests.get(record.name) != digests:
                # What contradicted that of another set may not do so any more.
                self._digests[record.name] = digests
                self._again = True
        for gone in [name for name in self._generations if self._sets.get(name) is None]:
            del self._generations[gone]
            self._digests.pop(gone, None)
            self._again = True
        self.attempts.forget(self._wants)
        self._look_at_once()

    def _wants(self, what: Brings) -> bool:
        """Return whether a set wants what its jobs have brought, or failed to."""
        name = what.caller.removeprefix(CALLER)
        record = self._sets.get(name)
        return record is not None and any(
            what.digest in (each.current, each.next)
            and (what.image, what.platform) == (str(pulled(each)), each.platform)
            for each in images(record, self._sets.state(name))
        )

    def _look_at_once(self) -> None:
        self._urgent.set()
        self._wake.set()

    def _nodes_changed(self, machines: set[str]) -> None:
        if self._pictures:
            self._changed |= machines
            self._wake.set()

    def _inventories_changed(self, machines: set[str]) -> None:
        for machine in machines:
            if self._inventories.settled(machine):
                self.attempts.heard(machine)
                self._shown(machine)
        self._nodes_changed(machines)

    def _shown(self, machine: str) -> None:
        """Forget what came to nothing on a node that has it by now, whoever keeps the sets."""
        holds = self._inventories.holds
        self.attempts.shown(
            machine,
            lambda what: holds(machine, Reference.parse(what.image), what.digest, what.platform),
        )

    def _heartbeat(self, member: Member) -> None:
        """Look at a node again to which nothing could be brought, once that is over."""
        if member.machine in self._troubled and not obstacle_of(member):
            self._nodes_changed({member.machine})

    def _turned(self, state: JobState, machines: frozenset[str] | None) -> None:
        self.attempts.turned(state)
        if not state.job.caller.startswith(CALLER):
            return
        if machines is None:
            self._nodes_changed(set(state.unfinished))
        if state.done:
            self._look_at_once()

    def folded(self, event: Event) -> None:
        """Take an event of the journal; see `Indexer.subscribe`."""
        if self.attempts.knows(event.job):
            self._nodes_changed(self.attempts.folded(event) | {event.machine})
            if self._inventories.settled(event.machine):
                self._shown(event.machine)  # it has said so before this was stored
            if event.kind in (CANCELLING, WITHHELD, DELETED):
                self._again = True

    async def names_now(self, record: SetRecord, image: ImageState, node: Node) -> str:
        """Return the digest that a tag names now, as a node says; "" where it can't say that."""
        digest, _ = await self._resolution.of(record, image, node)
        return digest

    # Running

    async def run(self) -> None:
        """Keep the sets true, for ever."""
        await self._sets.known.wait()
        try:
            while True:
                woken = self._wake.is_set()
                self._wake.clear()
                if await self._leads() and (woken or self._is_due()):
                    await self._pass_leading()
                await within(self._pause(), self._wake.wait())
                if self._wake.is_set() and not self._urgent.is_set():
                    await within(self._gathered_for, self._urgent.wait())
        finally:
            await self._resolution.stop()
            self._failures.close()
            await self._lease.give_back()

    def _is_due(self) -> bool:
        """Return whether there is something to look at without an event."""
        if not self._pictures or self._version != self._fleet.version:
            return True
        return self._until is not None and self._until <= self._clock.running()

    def _pause(self) -> float:
        """Return for how many seconds there is nothing to do unless something changes."""
        if self._until is None:
            return self._look_every
        return min(self._look_every, max(SHORTEST, self._until - self._clock.running()))

    async def _leads(self) -> bool:
        """Return whether this controller keeps the sets true, and forget where it doesn't."""
        before, now = self._lease.valid, self._clock.running()
        if not self._able.is_set():
            await self._lease.give_back()
        elif self._has_work() and (not before or now - self._renewed >= self._look_every / 2):
            self._renewed = now
            await self._lease.take()
        if self._lease.valid and self._able.is_set():
            if not self._leading_since:
                log.info("sets taken over")
                self._leading_since = now
            return True
        if self._leading_since:
            log.info("sets given up")
        self._leading_since = 0.0
        self._pictures.clear()
        self._until = None
        return False

    async def _pass_leading(self) -> None:
        """Do what is to be done for all sets now, and renew the lease meanwhile.

        The first look at all nodes of many sets takes longer than a lease lasts.
        """
        ended = asyncio.Event()
        renewing = asyncio.create_task(self._renew_until(ended))
        try:
            await self._pass()
        finally:
            ended.set()
            await renewing

    async def _renew_until(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            await within(max(SHORTEST, self._look_every / 2), ended.wait())
            if not ended.is_set() and self._able.is_set():
                self._renewed = self._clock.running()
                await self._lease.take()

    def _has_work(self) -> bool:
        """Return whether there is a set, or a job of one that is no more."""
        return bool(self._sets.all()) or any(
            state.job.caller.startswith(CALLER) for state in self._open
        )

    def _at(self, moment: float) -> None:
        """Look again at a moment, in seconds since the machine was started."""
        self._until = moment if self._until is None else min(self._until, moment)

    async def _pass(self) -> None:
        """Do what is to be done for all sets now."""
        self._urgent.clear()
        self._until = None
        self._version = self._fleet.version
        changed, self._changed = self._changed, set()
        again, self._again = self._again, False
        view = self.standings.view()
        records = self._sets.all()
        for gone in self._pictures.keys() - {record.id for record in records}:
            del self._pictures[gone]
        await self._cancel_of_none(view, records)
        for record in records:
            state = self._sets.state(record.name)
            picture = self._pictures.get(record.id)
            if picture is None:
                picture = self._pictures[record.id] = Picture(self._fleet, self.attempts)
            now = self._clock.wall()
            due = {
                machine
                for rows in picture.rows.values()
                for machine, row in rows.items()
                if row.due is not None and row.due <= now
            }
            await picture.look(record, state, view, changed | due, now, again=again)
            for moment in picture.due():
                self._at(self._clock.running() + max(0.0, moment - now))
            if (self._sets.get(record.name), self._sets.state(record.name)) == (record, state):
                await self._keep(record, state, view, picture)
            else:
                self._look_at_once()  # what was looked at is not what is wanted by now
        self._troubled = set().union(*(each.troubled for each in self._pictures.values()))

    async def _keep(self, record: SetRecord, state: SetState, view: View, picture: Picture) -> None:
        """Do what is to be done for a set; what can't be done now is tried again a little later."""
        running = self._clock.running()
        if (until := self._not_before.get((record.id,), 0.0)) > running:
            self._at(until)
            return
        try:
            window = self._situations.window(record)
            if state.paused is None:
                members = functools.partial(self._members, picture)
                wait = self._resolution.begin(record, state, members, window=window)
                if wait is not None:
                    self._at(running + max(0.0, wait))
            since = self._leading_since
            found = await self._situations.of(
                record, state, view, picture, window=window, since=since
            )
        except TowlineError as error:
            self._later(record, error)
            return
        except Exception as error:
            # Of this set alone: the others go on.
            log.exception("set not kept true", set=record.name, exc_info=error)
            self._later(record)
            return
        for action in rule.decide(record, state, found):
            if not self._lease.valid:
                self._look_at_once()  # the rest is left to whoever has it then
                return
            try:
                await self._do(record, state, action)
            except TowlineError as error:
                # What is to be done for the set's other images doesn't wait for it.
                self._later(record, error)
            except Exception as error:
                log.exception("set not kept true", set=record.name, exc_info=error)
                self._later(record)

    def _later(self, record: SetRecord, error: TowlineError | None = None) -> None:
        """Do for a set a little later what can't be done now, and say why that is."""
        if error is not None:
            self._failures.warning(set=record.name, reason=f"{error.error} {error.details}")
        again = self._clock.running() + AGAIN_AFTER
        self._not_before[record.id,] = again
        self._at(again)

    async def _cancel_of_none(self, view: View, records: Sequence[SetRecord]) -> None:
        """Cancel the jobs of sets that are no more."""
        callers = {record.caller for record in records}
        for state in view.of_sets:
            caller = state.job.caller
            if caller in callers or state.cancelled is not None or brings(state.job) is None:
                continue
            try:
                await self._decisions.cancel(state.job.id, caller)
            except TowlineError as error:
                self._failures.warning(set=caller, reason=f"{error.error} {error.details}")
                self._at(self._clock.running() + AGAIN_AFTER)

    def _members(self, picture: Picture) -> list[Member]:
        members = (self._fleet.get(machine) for machine in picture.members)
        return [member for member in members if member is not None]

    async def _change(self, record: SetRecord, change: changes.Changes) -> None:
        try:
            await self._sets.change(record.name, change)
        except NotFound:
            log.info("set removed meanwhile", set=record.name)

    # What is done

    async def _do(self, record: SetRecord, state: SetState, action: rule.Action) -> None:
        now = self._clock.wall()
        match action:
            case rule.RollOut(image, machines):
                job = await self._making.roll_out(record, state, image, machines)
                await self._change(record, changes.started(record, image, job))
            case rule.Adopt(image, job):
                await self._change(record, changes.started(record, image, job))
            case rule.FillIn(image, machines):
                await self._fill_in(record, image, machines)
            case rule.Promote(image):
                await self._change(record, changes.rolled_out(record, image, now))
            case rule.Stop(image, reason):
                log.warning("rollout stopped", set=record.name, image=image.image, reason=reason)
                await self._change(record, changes.stopped(record, image, reason, now))
            case rule.Remove(image, digest, machines):
                await self._making.remove(record, image, digest, machines)
            case rule.Cancel(job):
                await self._decisions.cancel(job, record.caller)
            case rule.Hold(job):
                await self._decisions.pause(job, record.caller)
            case rule.LetGo(job):
                await self._decisions.resume(job, record.caller)

    async def _fill_in(self, record: SetRecord, image: ImageState, machines: Sequence[str]) -> None:
        """Bring to nodes what they lack, but not for each that joins a job of its own."""
        key, running = (record.id, image.image, image.platform), self._clock.running()
        if (until := self._not_before.get(key, 0.0)) > running:
            self._at(until)
            return
        self._not_before[key] = running + self._filled_every
        await self._making.fill_in(record, image, machines)
