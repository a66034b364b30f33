"""`/set`: which images ought to be on which nodes, and how far they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec
from msgspec import Meta

from towline.endpoint import Context, endpoint
from towline.endpoints import set_views as views
from towline.endpoints.fields import TARGETS
from towline.endpoints.preconditions import IfMatch, IfNoneMatch, tags_of
from towline.endpoints.set_foreseen import foreseen
from towline.endpoints.set_views import (
    Follow,
    Place,
    SetForeseen,
    SetHistory,
    SetImage,
    SetList,
    SetNodes,
    SetOptions,
    SetView,
    StateOf,
)
from towline.errors import Forbidden, InvalidRequest
from towline.signature import Check, Flag, Query
from towline.units import parse_duration
from towline.wire.platform import Platform
from towline.wire.reference import Reference
from towline.wire.rollout import OPTIONS, Waves
from towline.wire.target import is_any, parse_target
from towline.wire.window import Window

if TYPE_CHECKING:
    from towline.controller.sets.record import SetRecord

READS, WRITES = "set:read", "set:write"
CHANGES = "`set:write`, and `docker:write` for all its images on all that its target means"
SHORTEST, LONGEST = 10.0, 30 * 86400.0
"""Seconds between two looks at a tag: a registry counts them, and more is a slip of the finger."""
_NAME = re.compile("[a-z0-9][a-z0-9._-]{0,62}")


def _name(text: str) -> None:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{text[:80]!r} is no name of a set, write 1 to 63 lower-case letters, digits, '.', "
            "'_' and '-', a letter or digit first"
        )


def _target(text: str) -> None:
    if is_any(parse_target(text)):
        raise ValueError(
            f"{text[:80]!r} means any one node, and a set is for all that it means: write _all, a "
            "label such as group:web, or a hostname"
        )


def _every(text: str) -> None:
    if not SHORTEST <= parse_duration(text) <= LONGEST:
        raise ValueError(f"{text[:40]!r} is not between 10s and 30d")


def _printable(text: str) -> None:
    if not text.isprintable():
        raise ValueError(f"{text[:80]!r} has characters that can't be shown")


Keep: TypeAlias = Annotated[
    int, Meta(ge=0, le=19, description="How many older digests stay; unless given, all do.")
]
Source: TypeAlias = Annotated[
    str,
    Meta(min_length=1, max_length=255, description="What it is applied from."),
    Check(_printable),
]
OfImage: TypeAlias = Annotated[
    str,
    Meta(min_length=1, description="This image of it alone."),
    Check(Reference.parse),
]
Cursor: TypeAlias = Annotated[
    str,
    Meta(max_length=1000, description="`next_cursor` of the page before."),
    Flag("CURSOR"),
]
Name: TypeAlias = Annotated[
    str,
    Meta(
        description="The set's name: lower-case letters, digits, '.', '_' and '-'.",
        examples=["web"],
        extra_json_schema={"pattern": f"^{_NAME.pattern}$"},
    ),
    Check(_name),
    Flag("SET"),
]


@endpoint(
    "set.put",
    "PUT /set/{name}",
    permission=WRITES,
    needs=CHANGES,
    narrows=True,
    success=(200, 201),
    errors=(409, 412),
    tagged=True,
    command=None,
    dry_run=SetForeseen,
)
async def put(
    context: Context,
    *,
    name: Name,
    target: Annotated[
        str,
        Meta(description=f"{TARGETS}. It may mean nobody yet.", examples=["group:web"]),
        Check(_target),
    ],
    images: Annotated[
        list[str | SetImage],
        Meta(
            min_length=1,
            max_length=100,
            description="What they ought to have: image references.",
            examples=[["nginx:1.27"]],
        ),
    ],
    follow: Annotated[
        Follow,
        Place,
        Meta(
            description="tag: what the tag names, looked up every so often. digest: what it named "
            "when the set was declared."
        ),
    ] = "tag",
    every: Annotated[
        str,
        Meta(description="How often a tag is looked up: 10s to 30d.", examples=["15m"]),
        Check(_every),
    ] = "15m",
    window: Annotated[
        str | None,
        Meta(
            description="When new digests and pruning may begin; else always.",
            examples=["02:00-04:00 Europe/Berlin", "Mon-Fri 22:00-06:00 UTC"],
        ),
        Check(Window.parse),
    ] = None,
    keep: Keep | None = None,
    options: Annotated[
        SetOptions | None,
        Meta(description="How a new digest gets to the nodes; unless given, to all at once."),
    ] = None,
    source: Source | None = None,
    if_match: IfMatch | None = None,
    if_none_match: IfNoneMatch | None = None,
    dry_run: Annotated[
        bool | None,
        Query,
        Meta(description="Declare nothing, and say what it would come to, and what nodes lack."),
    ] = None,
) -> SetView | SetForeseen:
    """Declare which images ought to be on which nodes, in place of what was declared before.

    Towline keeps it true: on nodes that are there, that come later, that come back, and where an
    image was removed. The same again changes nothing.
    """
    declarations = context.controller.images.declarations
    declared = declarations.read(
        target=parse_target(target),
        images=[_image(each) for each in images],
        follow=follow,
        every=parse_duration(every),
        window="" if window is None else str(Window.parse(window)),
        keep=keep,
        options=_waves(options),
        source=source or "",
    )
    expected = (
        None if if_match is None else tags_of(if_match),
        None if if_none_match is None else tags_of(if_none_match),
    )
    if dry_run:
        context.status, context.looks = 200, True
        record, done, lacking = await declarations.foresee(
            context.caller, name, declared, *expected
        )
        return await foreseen(record, done, lacking)
    record, done = await declarations.put(context.caller, name, declared, *expected)
    context.status = 201 if done == "created" else 200
    return await _tagged(context, record)


def _image(given: str | SetImage) -> tuple[str, str]:
    """Return a reference in full, and a platform in the one way of writing it.

    Raises:
        InvalidRequest: one of them is none.
    """
    image, platform = (given, None) if isinstance(given, str) else (given.image, given.platform)
    try:
        return str(Reference.parse(image)), "" if platform is None else str(
            Platform.parse(platform)
        )
    except ValueError as error:
        raise InvalidRequest.because(
            "An image of the set is not valid", error, "Write such as nginx:1.27"
        ) from error


def _waves(options: SetOptions | None) -> Waves | None:
    given = {} if options is None else msgspec.to_builtins(options)
    try:
        return Waves.of({name: str(given[name]) for name in OPTIONS if name in given})
    except ValueError as error:
        raise InvalidRequest.because(
            "The options of the set are not valid", error, f"It may have {', '.join(OPTIONS)}"
        ) from error


async def _tagged(context: Context, record: SetRecord) -> SetView:
    context.etag = record.etag
    return await views.view(context, record)


# Reading


async def _shown(context: Context, name: str) -> SetRecord:
    """Return a set that the caller may see; raises as `Sets.named` and `Bounds.check_target`."""
    sets = context.controller.images.sets
    await sets.until_known()
    record = await sets.named(name)
    context.caller.bounds(READS).check_target(parse_target(record.target))
    return record


@endpoint("set.list", "GET /set", permission=READS, narrows=True, command=None, typed="set list")
async def list_sets(context: Context) -> SetList:
    """The sets, by name.

    With a permission that is narrowed to some nodes, those whose target is certain to mean no
    others.
    """
    sets, bounds = context.controller.images.sets, context.caller.bounds(READS)
    await sets.until_known()
    found = []
    for record in sorted(sets.all(), key=lambda each: each.name):
        try:
            bounds.check_target(parse_target(record.target))
        except Forbidden:
            continue
        found.append(await views.view(context, record))
    return SetList(sets=found, total=len(found))


@endpoint(
    "set.get",
    "GET /set/{name}",
    permission=READS,
    narrows=True,
    errors=(404,),
    tagged=True,
    command=None,
    typed="set show",
)
async def get(context: Context, *, name: Name) -> SetView:
    """One set: what was declared, and how far each of its images is."""
    return await _tagged(context, await _shown(context, name))


@endpoint(
    "set.nodes",
    "GET /set/{name}/nodes",
    permission=READS,
    narrows=True,
    errors=(404,),
    command=None,
    typed="set nodes",
)
async def nodes(
    context: Context,
    *,
    name: Name,
    state: Annotated[StateOf | None, Meta(description="Rows of this state alone.")] = None,
    image: Annotated[OfImage | None, Meta(description="Rows of this image alone.")] = None,
    limit: Annotated[int, Meta(ge=1, le=1000, description="At most so many rows.")] = 100,
    cursor: Cursor | None = None,
) -> SetNodes:
    """Where each node stands that a set means: a row for each of its images."""
    record = await _shown(context, name)
    after = None if cursor is None else _place(cursor)
    named = None if image is None else str(Reference.parse(image))
    found = await views.rows(context, record, after, limit + 1, state=state, image=named)
    states = await views.states(context, record, named)
    page = found[:limit]
    return SetNodes(
        nodes=[views.node(context, each) for each in page],
        total=sum(states.values()) if state is None else states.get(state, 0),
        states=states,
        next_cursor=_cursor(views.place_of(record, page[-1])) if len(found) > limit else None,
    )


def _cursor(place: Place) -> str:
    return "/".join(map(str, place))


def _place(cursor: str) -> Place:
    """Return the row behind which a page begins; raises `InvalidRequest` where it is none."""
    parts = cursor.split("/")
    if len(parts) != 3 or not (parts[2].isascii() and parts[2].isdigit() and len(parts[2]) < 5):
        raise InvalidRequest(
            f"{cursor[:80]!r} is no cursor of a set's nodes.", "Leave it out to begin anew"
        )
    return parts[0], parts[1], int(parts[2])


@endpoint(
    "set.history",
    "GET /set/{name}/history",
    permission=READS,
    narrows=True,
    errors=(404,),
    command=None,
    typed="set history",
)
async def history(context: Context, *, name: Name) -> SetHistory:
    """What has happened to a set, the newest first: what was declared, rolled out and back."""
    record = await _shown(context, name)
    return views.history(context.controller.images.sets.state(record.name))


# Changing


@endpoint(
    "set.rollback",
    "POST /set/{name}/rollback",
    permission=WRITES,
    needs=CHANGES,
    narrows=True,
    errors=(404, 409),
    tagged=True,
    command=None,
    typed="set rollback",
)
async def rollback(
    context: Context,
    *,
    name: Name,
    image: Annotated[OfImage | None, Query] = None,
) -> SetView:
    """Go back to the digest before: of a set whose rollout goes on or has stopped, that gives up.

    The digest that is gone back from stays rejected until the tag names another.
    """
    wanted = None if image is None else str(Reference.parse(image))
    steering = context.controller.images.steering
    return await _tagged(context, await steering.roll_back(context.caller, name, wanted))


@endpoint(
    "set.pause",
    "POST /set/{name}/pause",
    permission=WRITES,
    needs=CHANGES,
    narrows=True,
    errors=(404,),
    tagged=True,
    command=None,
    typed="set pause",
)
async def pause(context: Context, *, name: Name) -> SetView:
    """Do nothing more for a set until it is resumed; jobs that it has made go on."""
    steering = context.controller.images.steering
    return await _tagged(context, await steering.pause(context.caller, name))


@endpoint(
    "set.resume",
    "POST /set/{name}/resume",
    permission=WRITES,
    needs=CHANGES,
    narrows=True,
    errors=(404,),
    tagged=True,
    command=None,
    typed="set resume",
)
async def resume(context: Context, *, name: Name) -> SetView:
    """Keep a set true again, one that was paused or whose rollout has stopped."""
    steering = context.controller.images.steering
    return await _tagged(context, await steering.resume(context.caller, name))


@endpoint(
    "set.remove",
    "DELETE /set/{name}",
    permission=WRITES,
    needs=CHANGES,
    narrows=True,
    errors=(404, 412),
    command=None,
    typed="set remove",
)
async def remove(context: Context, *, name: Name, if_match: IfMatch | None = None) -> None:
    """Keep a set no longer; the images stay where they are."""
    expected = None if if_match is None else tags_of(if_match)
    await context.controller.images.steering.remove(context.caller, name, expected)
