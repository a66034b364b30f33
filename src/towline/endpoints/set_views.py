"""What sets look like: how far each of their images is, and where each node stands."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

from towline.endpoints.fields import DateTime, MachineId, Uuid, View, one_of
from towline.units import show_duration, timestamp

if TYPE_CHECKING:
    from towline.controller.sets.record import ImageState, SetRecord, SetState
    from towline.controller.sets.standing import Standing
    from towline.endpoint import Context

TOGETHER = 500
"""Nodes that are looked at before others have their turn."""

StateOf: TypeAlias = Literal["converged", "missing", "failed", "unknown", "conflict"]
State: TypeAlias = Annotated[
    str,
    one_of(
        *get_args(StateOf),
        description="converged: the node has it. missing: not yet. failed: it could not be "
        "brought there, and is tried again. unknown: what it has, or ought to, is not known. "
        "conflict: an older set wants another under the same name.",
    ),
]
Digest: TypeAlias = Annotated[str, Meta(description="A manifest digest, sha256:….")]
Follow: TypeAlias = Literal["tag", "digest"]
Place: TypeAlias = tuple[str, str, int]
"""Of a row of a set's nodes: hostname, machine id, and the number of the image in the set."""


class SetImage(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An image that a set wants, for a platform of which an engine is not itself."""

    image: Annotated[str, Meta(min_length=1, description="Image reference.")]
    platform: Annotated[
        str | None, Meta(description="OS/ARCHITECTURE[/VARIANT]; else each engine's own.")
    ] = None


class SetOptions(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a new digest gets to the nodes: each a number of nodes, or a percentage of them."""

    canary: Annotated[int | str | None, Meta(description="So many first, alone.")] = None
    max_parallel: Annotated[int | str | None, Meta(description="So many at a time.")] = None
    max_failures: Annotated[
        int | str | None, Meta(description="So many may fail; past it the rollout stops.")
    ] = None


class SetWaves(View, frozen=True, kw_only=True):
    """How a new digest gets to the nodes: each a number of nodes, or a percentage of them."""

    canary: Annotated[int | str | None, Meta(description="So many first, alone.")] = None
    max_parallel: Annotated[int | str | None, Meta(description="So many at a time.")] = None
    max_failures: Annotated[
        int | str | None, Meta(description="So many may fail; past it the rollout stops.")
    ] = None


class SetFailure(View, frozen=True, kw_only=True):
    """A node on which an image could not be brought."""

    hostname: str
    machine_id: MachineId
    error: str


class SetImageView(View, frozen=True, kw_only=True):
    """How far an image of a set is: what is wanted, and of how many nodes what is so."""

    image: Annotated[str, Meta(description="Its reference in full.")]
    platform: str | None = None
    digest: Annotated[
        Digest | None, Meta(description="What is rolled out or being rolled out; see `next`.")
    ] = None
    current: Annotated[Digest | None, Meta(description="What nodes are to have.")] = None
    next: Annotated[
        Digest | None, Meta(description="What is to be rolled out, or is under way.")
    ] = None
    since: Annotated[
        DateTime | None, Meta(description="When `next`, or else `current`, became that.")
    ] = None
    before: Annotated[Digest | None, Meta(description="What a rollback goes to.")] = None
    checked_at: Annotated[
        DateTime | None, Meta(description="When it was looked up last what the tag names.")
    ] = None
    converged: int
    missing: int
    failed: int
    unknown: int
    conflict: int
    failures: Annotated[
        list[SetFailure], Meta(description="The first nodes that failed, and why.")
    ] = []  # noqa: RUF012
    stopped: Annotated[
        str | None, Meta(description="Why the rollout of `next` does not go on.")
    ] = None
    problem: Annotated[
        str | None, Meta(description="Why it can't be told just now what the tag names.")
    ] = None
    job: Annotated[Uuid | None, Meta(description="The job that rolls `next` out.")] = None


class SetView(View, frozen=True, kw_only=True):
    """A set: what was declared, and how far it is."""

    name: str
    id: Annotated[str, Meta(description="Of this set; one of the same name later has another.")]
    generation: Annotated[int, Meta(description="One more at each change of what is declared.")]
    etag: Annotated[str, Meta(description="For If-Match, with its quotation marks.")]
    status: Annotated[
        str,
        one_of(
            *("converged", "reconciling", "degraded", "paused"),
            description="converged: all nodes that are here have what they ought to. reconciling: "
            "some don't yet. degraded: somewhere it failed or contradicts another set, a rollout "
            "has stopped, or a tag can't be looked up. paused: nothing is done.",
        ),
    ]
    target: str
    nodes: Annotated[int, Meta(description="How many nodes the target means today.")]
    images: list[SetImageView]
    follow: Annotated[str, one_of(*get_args(Follow))]
    every: Annotated[str, Meta(description="How often a tag is looked up.", examples=["15m"])]
    window: Annotated[
        str | None, Meta(description="When new digests and pruning may begin; else always.")
    ] = None
    keep: Annotated[
        int | None, Meta(description="How many older digests stay; absent for all.")
    ] = None
    options: SetWaves | None = None
    source: str | None = None
    created_at: DateTime
    created_by: str
    changed_at: DateTime
    changed_by: str
    paused_at: DateTime | None = None
    paused_by: str | None = None


class SetList(View, frozen=True, kw_only=True):
    """The sets, by name."""

    sets: list[SetView]
    total: int


class SetNode(View, frozen=True, kw_only=True):
    """Where a node stands against one image of a set."""

    hostname: str
    machine_id: MachineId
    here: Annotated[bool, Meta(description="Whether the node is here.")]
    image: str
    platform: str | None = None
    state: State
    digest: Annotated[Digest | None, Meta(description="What it ought to have.")] = None
    reason: Annotated[str | None, Meta(description="Why it is so.")] = None
    error: Annotated[str | None, Meta(description="How the last attempt failed.")] = None
    job: Annotated[Uuid | None, Meta(description="The job that is to bring it, or failed to.")] = (
        None
    )
    due_at: Annotated[DateTime | None, Meta(description="When it is tried again.")] = None


class SetNodes(View, frozen=True, kw_only=True):
    """A page of the nodes of a set, by hostname: one row for each of its images."""

    nodes: list[SetNode]
    total: Annotated[
        int, Meta(description="How many rows there are in all, of this state and image.")
    ]
    states: Annotated[
        dict[str, int],
        Meta(
            description="How many rows there are of each state, of this image; of a large fleet "
            "as it was some seconds ago."
        ),
    ]
    next_cursor: Annotated[
        str | None,
        Meta(description="The `cursor` of the next page; absent where there is none."),
    ] = None


class SetChange(View, frozen=True, kw_only=True):
    """An entry of a set's history."""

    timestamp: DateTime
    by: Annotated[str, Meta(description="Who: a caller, or the set's own.", examples=["set:web"])]
    what: Annotated[
        str,
        one_of(
            *("declared", "changed", "resolved", "rolled_out", "stopped", "rolled_back"),
            *("paused", "resumed"),
        ),
    ]
    generation: Annotated[int | None, Meta(description="Of what was declared then.")] = None
    image: str | None = None
    digest: Digest | None = None
    job: Uuid | None = None
    reason: str | None = None


class SetHistory(View, frozen=True, kw_only=True):
    """What has happened to a set, the newest first; the last 100 entries are kept."""

    changes: list[SetChange]
    total: int


class SetForeseenNode(View, frozen=True, kw_only=True):
    """What a node lacks of what a set would want."""

    hostname: str
    machine_id: MachineId
    here: bool
    known: Annotated[bool, Meta(description="Whether it is known what the node has.")]
    lacks: Annotated[list[str], Meta(description="Images that it doesn't have.")]


class SetForeseen(View, frozen=True, kw_only=True):
    """What declaring a set would come to. Nothing was declared."""

    dry_run: Annotated[bool, Meta(extra_json_schema={"const": True})]
    result: Annotated[str, one_of("created", "changed", "unchanged")]
    generation: Annotated[int, Meta(description="That it would have.")]
    target: str
    total: Annotated[int, Meta(description="How many nodes the target means today.")]
    lacking: Annotated[int, Meta(description="How many of these lack something.")]
    nodes: Annotated[
        list[SetForeseenNode],
        Meta(
            description="At most 100 of those that lack an image, for each image, of those that "
            "lack nothing, and of those of which it isn't known. The counts are of all."
        ),
    ]


async def rows(
    context: Context,
    record: SetRecord,
    after: Place | None,
    most: int,
    *,
    state: StateOf | None,
    image: str | None,
) -> list[Standing]:
    """Return where nodes stand against a set; others have their turns in between.

    Args:
        after: the row behind which to begin; None for the first.
        most: how many rows at most.
        state, image: only rows of these; None for all.
    """
    images = context.controller.images
    found: list[Standing] = []
    first = ("", "") if after is None else after[:2]
    kept = images.sets.state(record.name)
    standings = images.standings.of(record, kept, first=first, image=image)
    for count, standing in enumerate(standings):
        if count % TOGETHER == TOGETHER - 1:
            await asyncio.sleep(0)
        if state not in (None, standing.state):
            continue
        node = standing.hostname, standing.machine
        if after is None or node != after[:2] or place_of(record, standing) > after:
            found.append(standing)
            if len(found) >= most:
                break
    return found


def place_of(record: SetRecord, standing: Standing) -> Place:
    """Return the place of a row among those of a set."""
    images = [(each.image, each.platform) for each in record.images]
    number = images.index((standing.image, standing.platform))
    return standing.hostname, standing.machine, number


async def states(context: Context, record: SetRecord, image: str | None) -> dict[str, int]:
    """Return how many rows there are of each state, perhaps as it was a moment ago.

    Args:
        image: only rows of this image; None for all.
    """
    summary = await context.controller.images.summaries.of(record)
    found: Counter[str] = Counter()
    for (name, _), counts in summary.counts.items():
        if image in (None, name):
            found.update(counts)
    return dict(found)


async def view(context: Context, record: SetRecord) -> SetView:
    """Return what a set looks like."""
    summary = await context.controller.images.summaries.of(record)
    state = summary.state
    known = {(each.image, each.platform): each for each in state.images}
    shown = [
        _image(
            *(each.image, each.platform, known.get((each.image, each.platform))),
            summary.counts.get((each.image, each.platform), Counter()),
            [_failure(one) for one in summary.failures.get((each.image, each.platform), [])],
        )
        for each in record.images
    ]
    return SetView(
        name=record.name,
        id=record.id,
        generation=record.generation,
        etag=record.etag,
        status=_status(state, shown, waits=summary.waits),
        target=record.target,
        nodes=summary.nodes,
        images=shown,
        follow=record.follow,
        every=show_duration(record.every),
        window=record.window or None,
        keep=record.keep,
        options=_options(record),
        source=record.source or None,
        created_at=timestamp(record.created),
        created_by=record.created_by,
        changed_at=timestamp(record.changed),
        changed_by=record.changed_by,
        paused_at=None if state.paused is None else timestamp(state.paused),
        paused_by=state.paused_by or None,
    )


def _options(record: SetRecord) -> SetWaves | None:
    """Return the options of a set as they are declared: numbers, and percentages as text."""
    waves = record.options
    if waves is None:
        return None
    return SetWaves(
        canary=_share(waves.canary),
        max_parallel=_share(waves.max_parallel),
        max_failures=_share(waves.max_failures),
    )


def _share(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdigit() else text


def _failure(standing: Standing) -> SetFailure:
    return SetFailure(
        hostname=standing.hostname,
        machine_id=standing.machine,
        error=standing.error or standing.reason,
    )


def _image(
    image: str,
    platform: str,
    state: ImageState | None,
    counts: Counter[str],
    failures: list[SetFailure],
) -> SetImageView:
    counted: dict[str, Any] = {each: counts[each] for each in get_args(StateOf)}
    if state is None:
        return SetImageView(image=image, platform=platform or None, failures=failures, **counted)
    return SetImageView(
        image=image,
        platform=platform or None,
        digest=state.next or state.current or None,
        current=state.current or None,
        next=state.next or None,
        since=None if state.since is None else timestamp(state.since),
        before=next(iter(state.before), None),
        checked_at=None if state.checked is None else timestamp(state.checked),
        failures=failures,
        stopped=state.stopped or None,
        problem=state.problem or None,
        job=state.job or None,
        **counted,
    )


def _status(state: SetState, images: Iterable[SetImageView], *, waits: bool) -> str:
    """Return how a set is as a whole.

    Args:
        waits: whether it is not known of a node that is here what it has or ought to have.
    """
    if state.paused is not None:
        return "paused"
    if any(each.failed or each.conflict or each.stopped or each.problem for each in images):
        return "degraded"
    unknown = any(each.unknown and not each.digest for each in images)
    if waits or unknown or any(each.missing or each.next for each in images):
        return "reconciling"
    return "converged"


def node(context: Context, standing: Standing) -> SetNode:
    """Return a row of a set's nodes."""
    return SetNode(
        hostname=standing.hostname,
        machine_id=standing.machine,
        here=context.controller.fleet.is_here(standing.machine),
        image=standing.image,
        platform=standing.platform or None,
        state=standing.state,
        digest=standing.digest or None,
        reason=standing.reason or None,
        error=standing.error or None,
        job=standing.job or None,
        due_at=None if standing.due is None else timestamp(standing.due),
    )


def history(state: SetState) -> SetHistory:
    """Return what has happened to a set, the newest first."""
    return SetHistory(
        changes=[
            SetChange(
                timestamp=timestamp(each.time),
                by=each.by,
                what=each.what,
                generation=each.generation or None,
                image=each.image or None,
                digest=each.digest or None,
                job=each.job or None,
                reason=each.reason or None,
            )
            for each in reversed(state.history)
        ],
        total=len(state.history),
    )
