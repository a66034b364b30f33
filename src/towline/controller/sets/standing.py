"""Where nodes stand against a set. Pure: what is shown and what is done follow from this alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.operations.docker import DOCKER
from towline.units import timestamp
from towline.wire.reference import Reference

State: TypeAlias = Literal["converged", "missing", "failed", "unknown", "conflict"]
STATES: tuple[State, ...] = ("converged", "missing", "failed", "unknown", "conflict")


class Node(Protocol):
    """A node, as far as sets are concerned with it: `towline.controller.member.Member` is one."""

    @property
    def machine(self) -> str:
        """The machine id."""

    @property
    def hostname(self) -> str:
        """The name for people."""

    @property
    def here(self) -> bool:
        """Whether it sends heartbeats."""

    @property
    def absence(self) -> str:
        """Since when it doesn't, in words."""

    @property
    def drained(self) -> float | None:
        """Since when it takes no work; None for one that does."""

    def can(self, capability: str) -> bool:
        """Whether it says that it has a capability."""

    def trouble(self, capability: str) -> str:
        """Why that doesn't work there just now, or ""."""


class Attempt(msgspec.Struct, frozen=True):
    """How the last attempt at bringing an image to a node has ended.

    Attributes:
        error: why the node does not have it all the same.
        job: the id of the job.
        settles: until when it may be that only the inventory is behind, since the attempt has
            ended well; 0 where it failed.
        until: before when it isn't tried again; both in seconds since 1970.
        times: how many attempts in a row have come to nothing.
    """

    error: str
    job: str
    settles: float
    until: float
    times: int


class Rival(msgspec.Struct, frozen=True):
    """An older set that wants something else under an image's name on a node.

    Attributes:
        words: which one, and what.
        passing: whether both follow the tag, and only one has come to what it names now.
    """

    words: str
    passing: bool = False


class Known(Protocol):
    """What a controller knows just now that concerns sets."""

    def holds(self, machine: str, image: Reference, digest: str, platform: str = "") -> bool | None:
        """Whether a node has a digest under a name; None where that is not known."""

    def attempt(
        self, record: SetRecord, image: ImageState, digest: str, machine: str
    ) -> Attempt | None:
        """Return how the last attempt has ended, None where none has come to nothing."""

    def job(self, image: ImageState, digest: str, machine: str) -> str:
        """Return the id of the job of a set that is to bring a node that digest, or ""."""

    def rival(
        self, record: SetRecord, image: ImageState, digest: str, machine: str
    ) -> Rival | None:
        """Return which older set wants something else under the image's name on a node, if any."""


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a node stands against one image of a set.

    Attributes:
        machine, hostname: the node.
        image, platform: as in the set.
        state: `converged` has it, `missing` does not yet, on `failed` it could not be brought
            there, of an `unknown` one that is not known, in `conflict` an older set wants another
            under the same name.
        digest: what it ought to have; "" while no digest is known.
        reason: why it is so, in words; "" where there is nothing to say.
        error: how the last attempt failed.
        job: the id of the job that is to bring it there, or that failed to.
        due: when it is tried again, in seconds since 1970; None for no such moment.
        ready: whether it can be brought there at once, and nothing that goes on will.
        open: whether the digest that is rolled out could be brought there at once.
        tried: whether it has just been tried there, and is not to be again before `due` on account
            of this node alone.
    """

    machine: str
    hostname: str
    image: str
    platform: str
    state: State
    digest: str = ""
    reason: str = ""
    error: str = ""
    job: str = ""
    due: float | None = None
    ready: bool = False
    open: bool = False
    tried: bool = False


def images(record: SetRecord, state: SetState | None) -> list[ImageState]:
    """Return how far each image of a set is, in the set's order; also those never looked at."""
    if state is None or state.id != record.id:
        state = SetState(record.id)
    known = {(each.image, each.platform): each for each in state.images}
    return [
        known.get((each.image, each.platform)) or ImageState(each.image, each.platform)
        for each in record.images
    ]


def standings(
    record: SetRecord,
    state: SetState | None,
    nodes: Iterable[Node],
    known: Known,
    now: float,
    *,
    image: str | None = None,
) -> Iterator[Standing]:
    """Yield where each node stands against each image of a set, node by node.

    Args:
        nodes: those that the set's target means.
        now: seconds since 1970, by the controllers' clock.
        image: the one image that is asked about, its reference in full; None for all.
    """
    found = [each for each in images(record, state) if image in (None, each.image)]
    for node in nodes:
        for each in found:
            yield stand(record, each, node, known, now)


def stand(record: SetRecord, image: ImageState, node: Node, known: Known, now: float) -> Standing:
    """Return where a node stands against an image of a set.

    It ought to have `current`; or `next`, where the rollout has brought that there, is about to,
    or has failed to while the node still has `current`. Where nothing was rolled out before all
    ought to have `next`, and the rollout brings it.
    """
    machine, name = node.machine, pulled(image)

    def has(digest: str) -> bool | None:
        return known.holds(machine, name, digest, image.platform) if digest else False

    current, following = image.current, image.next
    has_next, has_current = has(following), has(current)
    wanted, held = (following, has_next) if has_next or not current else (current, has_current)
    job = known.job(image, following, machine) if following and not has_next else ""
    tried = None
    if following and current and not has_next:
        tried = known.attempt(record, image, following, machine)
        if job or (tried is not None and has_current):
            wanted, held = following, has_next

    put_off: float | None = None

    def standing(state: State, reason: str = "", **more: Any) -> Standing:
        if put_off is not None and more.get("open"):
            due = more.get("due")
            more = {**more, "tried": True, "due": put_off if due is None else min(due, put_off)}
        return Standing(
            machine, node.hostname, image.image, image.platform, state, wanted, reason, **more
        )

    if not wanted:
        why = image.problem or "it is not known yet which digest the tag names"
        return standing("unknown", why)
    obstacle = obstacle_of(node)
    job = job or ("" if held else known.job(image, wanted, machine))
    free = False
    if has_next is False and following and not job and not obstacle:
        free = not known.rival(record, image, following, machine)
        last = known.attempt(record, image, following, machine)
        put_off = last.until if last is not None and now < last.until else None
    if held:
        return standing("converged", open=free)
    if held is None:
        return standing("unknown", obstacle or "what it has is not known yet")
    if rival := known.rival(record, image, wanted, machine):
        return standing("missing" if rival.passing else "conflict", rival.words)
    if wanted != following or not current:
        tried = known.attempt(record, image, wanted, machine)
    under_way = f"job {job} is to bring it" if job else ""
    settling = tried is not None and now < tried.settles
    if tried is not None and not settling:
        waits = obstacle or under_way
        again = f"tried again at {timestamp(tried.until)}" if now < tried.until else ""
        return standing(
            "failed",
            waits or (again if wanted == current else _waits(image)),
            error=tried.error,
            job=job or tried.job,
            due=tried.until if not waits and now < tried.until else None,
            ready=wanted == current and not waits and now >= tried.until,
            open=free,
        )
    if settling and tried is not None:
        why = obstacle or under_way or f"job {tried.job} has just brought it"
        return standing("missing", why, job=job or tried.job, due=tried.settles)
    ready = wanted == current and not obstacle and not under_way
    why = obstacle or under_way or ("" if ready else _waits(image))
    return standing("missing", why, job=job, ready=ready, open=free)


def pulled(image: ImageState) -> Reference:
    """Return what nodes are to have of an image: beside a digest a tag means nothing."""
    reference = Reference.parse(image.image)
    return reference if reference.digest is None else Reference.parse(reference.pulled)


def parameters_of(image: ImageState) -> dict[str, str]:
    """Return the parameters of a pull of an image of a set."""
    found = {"image": str(pulled(image))}
    return {**found, "platform": image.platform} if image.platform else found


def obstacle_of(node: Node) -> str:
    """Return why nothing can be brought to a node just now, or ""."""
    capability = DOCKER.name
    if not node.here:
        return node.absence
    if node.drained is not None:
        return f"drained since {timestamp(node.drained)}"
    if not node.can(capability):
        return f"this node has no {capability}"
    return node.trouble(capability)


def _waits(image: ImageState) -> str:
    """Return what a node waits for that is to have the next digest."""
    if image.stopped:
        return f"the rollout is stopped: {image.stopped}"
    return "waits for the rollout"
