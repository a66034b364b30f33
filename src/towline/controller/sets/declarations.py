"""Declaring sets: who may, what contradicts another set, and what would come of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from towline.controller.auth import SET_WRITE, Caller
from towline.controller.fleet import Fleet
from towline.controller.inventory.inventories import Inventories
from towline.controller.member import Member
from towline.controller.registries import AllowedRegistries
from towline.controller.sets.changes import CHANGED, DECLARED
from towline.controller.sets.contradictions import Rivalry, refused, rivalries
from towline.controller.sets.declaration import Declaration, check, expect
from towline.controller.sets.record import (
    Change,
    ImageState,
    SetRecord,
    SetState,
    WantedImage,
)
from towline.controller.sets.sets import Sets
from towline.controller.sets.standing import images, obstacle_of, pulled
from towline.controller.sets.view import View
from towline.operations.docker import pull
from towline.wire.reference import Reference
from towline.wire.target import Target, parse_target

log = structlog.get_logger()

MOST_ASKED = 2
"""Nodes that are asked what a tag names, one after the other, before a set is declared."""
CREATED, UNCHANGED = "created", "unchanged"


class Lacking(msgspec.Struct, frozen=True):
    """What a node lacks of what a set would want.

    Attributes:
        images: references in full that it doesn't have.
        known: whether it is known what the node has.
    """

    member: Member
    images: list[str]
    known: bool


class Declarations:
    """Declares, changes and removes sets for those who may.

    Args:
        view: returns what is known just now.
        names_now: asks a node which digest a tag names now; returns "" where it can't say that.
    """

    def __init__(
        self,
        sets: Sets,
        fleet: Fleet,
        inventories: Inventories,
        registries: AllowedRegistries,
        view: Callable[[], View],
        names_now: Callable[[SetRecord, ImageState, Member], Awaitable[str]],
    ) -> None:
        self._sets = sets
        self._fleet = fleet
        self._inventories = inventories
        self._registries = registries
        self._view = view
        self._names_now = names_now

    # Who may

    def check(self, caller: Caller, record: SetRecord) -> None:
        """Refuse a change of a set by whoever may not pull all its images on all its nodes.

        Raises:
            Forbidden: with what is not allowed.
        """
        target = parse_target(record.target)
        members = self._view().members(record)
        bounds = caller.bounds(SET_WRITE)
        bounds.check(members)
        bounds.check_target(target)
        pulls = caller.bounds(pull.permission)
        for each in record.images:
            parameters: dict[str, object] = {"image": each.image}
            if each.platform:
                parameters["platform"] = each.platform
            pulls.check(members, pull, parameters)
            pulls.check_target(target, pull, parameters)

    # Declaring

    def read(
        self, *, target: Target, images: Sequence[tuple[str, str]], **declared: Any
    ) -> Declaration:
        """Return what a request declares.

        Args:
            images: references in full, each with its platform or "".
            declared: all else, as `Declaration` has it.
        """
        return Declaration(target, [WantedImage(*each) for each in images], **declared)

    async def put(
        self,
        caller: Caller,
        name: str,
        declared: Declaration,
        match: Sequence[str] | None = None,
        none_match: Sequence[str] | None = None,
    ) -> tuple[SetRecord, str]:
        """Declare a set; return it, and whether it was created, changed, or is unchanged.

        Args:
            match, none_match: see `expect`.

        Raises:
            InvalidRequest: it can't be declared so.
            Forbidden: the caller may not, or a registry is not allowed.
            PreconditionFailed: the set is not what the caller expects.
            Conflict: it contradicts another set, or there are too many.
            BrokerError: it may or may not have been stored.
        """

        found: dict[str, str] = {}

        def make(before: SetRecord | None) -> SetRecord:
            record = self._made(caller, name, declared, before)
            expect(name, before, match, none_match)
            self._refuse_contradiction(record, before, found)
            return record

        await self._look_up(caller, name, declared, found)
        record, before = await self._sets.declare(name, make)
        await self._note(record, before)
        done = _done(record, before)
        log.info(f"set {done}", set=name, generation=record.generation, by=caller.subject)
        return record, done

    async def foresee(
        self,
        caller: Caller,
        name: str,
        declared: Declaration,
        match: Sequence[str] | None = None,
        none_match: Sequence[str] | None = None,
    ) -> tuple[SetRecord, str, Iterator[Lacking]]:
        """Return what `put` would come to, and what each node lacks today; raises as `put`."""
        await self._sets.until_known()
        before, _ = await self._sets.newest(name)
        # First: of a set that a caller may not change nothing is said.
        record = self._made(caller, name, declared, before)
        expect(name, before, match, none_match)
        found: dict[str, str] = {}
        await self._look_up(caller, name, declared, found)
        self._refuse_contradiction(record, before, found)
        return record, _done(record, before), self._lacking(record)

    def _made(
        self,
        caller: Caller,
        name: str,
        declared: Declaration,
        before: SetRecord | None,
    ) -> SetRecord:
        check(name, declared)
        record = declared.record(name, caller.subject, before)
        self.check(caller, record)
        if before is not None:
            # Whoever replaces a set takes from its nodes, and from its images, that they are kept.
            self.check(caller, before)
        # One that stays as it is was allowed once: whoever asks whether it may be removed, or has
        # it in a file beside others, is not to be held up by what is allowed since.
        for each in record.images if record != before else ():
            self._registries.check(Reference.parse(each.image).domain)
        return record

    def _rivalries(self, record: SetRecord) -> Iterator[Rivalry]:
        return rivalries(record, self._sets.all(), self._sets.state, self._view().members)

    async def _look_up(
        self, caller: Caller, name: str, declared: Declaration, found: dict[str, str]
    ) -> None:
        """Ask what those tags name now under which other sets want something already.

        Of those that nobody can say it becomes known later, and then the older set wins.

        Args:
            found: what they name, by references in full: it is written here.
        """
        await self._sets.until_known()
        before, _ = await self._sets.newest(name)
        record = self._made(caller, name, declared, before)
        if record == before:
            return
        asked: dict[str, list[Rivalry]] = {}
        for each in self._rivalries(record):
            if each.mine.platform == each.theirs.platform:
                asked.setdefault(each.mine.image, []).append(each)
        for image, rivals in asked.items():
            able = [node for each in rivals for node in each.nodes if not obstacle_of(node)]
            for node in able[:MOST_ASKED]:
                if digest := await self._names_now(record, rivals[0].mine, node):
                    found[image] = digest
                    break

    def _refuse_contradiction(
        self, record: SetRecord, before: SetRecord | None, found: Mapping[str, str]
    ) -> None:
        """Raise `Conflict` where a set contradicts another; one that stays as it is may."""
        if record == before:
            return
        for each in self._rivalries(record):
            if wanted := each.wants(found):
                raise refused(each, wanted)

    async def _note(self, record: SetRecord, before: SetRecord | None) -> None:
        """Write a declaration into the set's history, unless it stands there.

        It may have been stored and not noted, by a controller that ended in between.
        """

        def noted(state: SetState) -> SetState:
            if state.noted >= record.generation:
                return state
            what = DECLARED if record.generation == 1 else CHANGED
            change = Change(record.changed, record.changed_by, what, record.generation)
            change = msgspec.structs.replace(change, reason=_difference(before, record))
            return msgspec.structs.replace(
                state.anew(record.changed),
                noted=record.generation,
                history=[*state.history, change],
            )

        def looked_up_anew(state: SetState) -> SetState:
            images = [msgspec.structs.replace(each, problem="") for each in state.images]
            return msgspec.structs.replace(state, images=images, renewed=time.time())

        state = self._sets.state(record.name)
        if state.noted < record.generation:
            await self._sets.change(record.name, noted)
        elif any(each.problem for each in state.images):
            # Perhaps it was declared again since the tag has been pushed by now.
            await self._sets.change(record.name, looked_up_anew)

    def _lacking(self, record: SetRecord) -> Iterator[Lacking]:
        view = self._view()
        wanted = images(record, self._sets.state(record.name))
        for member in view.members(record):
            held = self._inventories.of(member.machine)
            if held is None:
                yield Lacking(member, [], known=False)
                continue
            names = {name for image in held.values() for name in image.names}
            yield Lacking(
                member,
                [each.image for each in wanted if not self._has(member, each, names)],
                known=True,
            )

    def _has(self, member: Member, image: ImageState, names: set[str]) -> bool:
        """Whether a node has an image; while no digest is known, whether it has one of the name."""
        name = pulled(image)
        digest = name.digest or image.current or image.next
        if not digest:
            return str(name) in names
        return bool(self._inventories.holds(member.machine, name, digest, image.platform))


def _difference(before: SetRecord | None, record: SetRecord) -> str:
    """Return in words what a declaration has changed; "" where there was none, or none is known."""
    if before is None or before == record:
        return ""
    then, now = ({_named(each): None for each in one.images} for one in (before, record))
    found = [f"+ {each}" for each in now if each not in then]
    found += [f"- {each}" for each in then if each not in now]
    fields = (each for each in Declaration.__struct_fields__ if each != "images")
    found += [each for each in fields if getattr(before, each) != getattr(record, each)]
    return ", ".join(found)


def _named(image: WantedImage) -> str:
    name = Reference.parse(image.image).familiar
    return f"{name} for {image.platform}" if image.platform else name


def _done(record: SetRecord, before: SetRecord | None) -> str:
    return CREATED if before is None else UNCHANGED if record == before else CHANGED
