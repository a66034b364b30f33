"""Images: which there are on the nodes, and what can be done with them there."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from towline.endpoint import Context, endpoint
from towline.endpoints.fields import DateTime, MachineId, View, machine, one_of
from towline.endpoints.fields import target as parsed
from towline.errors import InvalidRequest
from towline.signature import Check
from towline.wire.reference import Reference
from towline.wire.target import Quantifier

READS = "docker:read"
State: TypeAlias = Literal["has", "other", "none", "unknown"]
STATES: tuple[State, ...] = ("has", "other", "none", "unknown")


class After(msgspec.Struct, frozen=True, array_like=True):
    """What a page's last row is found by: the next page begins behind it."""

    first: str
    then: str


def _after(text: str) -> After:
    """Read a cursor; raises `ValueError` where it is none."""
    try:
        body = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
        return msgspec.json.decode(body, type=After)
    except (binascii.Error, UnicodeError, msgspec.MsgspecError):
        raise ValueError(f"{text[:80]!r} is not a cursor, which is what an answer says") from None


def cursor_of(first: str, then: str) -> str:
    """Return the cursor of the page behind what is found by two texts."""
    body = msgspec.json.encode(After(first, then))
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def _check_cursor(text: str) -> None:
    _after(text)


Cursor: TypeAlias = Annotated[
    str,
    Meta(max_length=4096, description="`next_cursor` of the page before."),
    Check(_check_cursor),
]
NextCursor: TypeAlias = Annotated[
    str | None, Meta(description="The `cursor` of the next page; absent where there is none.")
]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=1000)]
ReferenceText: TypeAlias = Annotated[str, Meta(min_length=1), Check(Reference.parse)]


class ImageView(View, frozen=True, kw_only=True):
    """An image that is on nodes: what a registry knows by one digest.

    Attributes:
        digest: absent for one that no registry knows, which has an `image_id`.
        image_id: the engine's.
        names: those by which any node knows it, in full.
        size: bytes. Engines count in different ways: the largest.
        sizes: where they differ, all of them.
        created: when it was made; where that differs, the latest.
        nodes: how many have it.
        used_on: on how many of these there is a container of it, running or not.
    """

    digest: str | None = None
    image_id: str | None = None
    names: list[str] = msgspec.field(default_factory=list)
    size: int
    sizes: list[int] = msgspec.field(default_factory=list)
    platforms: list[str] = msgspec.field(default_factory=list)
    created: DateTime | None = None
    nodes: int
    used_on: int


class ImagePage(View, frozen=True, kw_only=True):
    """A page of images, by name, those without one behind the others."""

    images: list[ImageView]
    total: Annotated[int, Meta(description="How many images the filters leave.")]
    unknown: Annotated[
        int,
        Meta(description="Of how many of the nodes that are asked about it is unknown what is on."),
    ] = 0
    next_cursor: NextCursor = None


class ImageNode(View, frozen=True, kw_only=True):
    """A node, and which image it has under a name.

    Attributes:
        state: `has` it, has an`other` image under that name, has `none`, or that is `unknown`.
        digest: of what it has; absent where no registry knows that, which has an `image_id`.
        used: how many containers it has of it, running or not.
        here: whether the node is; of one that is away this is what it had when it went.
    """

    hostname: str
    machine_id: MachineId
    state: Annotated[str, one_of(*STATES)]
    digest: str | None = None
    image_id: str | None = None
    used: int = 0
    here: bool


class ImageNodes(View, frozen=True, kw_only=True):
    """A page of nodes, by hostname, and which image each has under a name.

    Attributes:
        reference: the name, in full.
        digest: which image is meant by it; absent where no node has any, or no registry knows it.
        image_id: the engine's id of one that no registry knows.
        compared: where the digest is from: the `reference` itself, or what a `set` wants, or what
            `most` nodes have.
        counts: of how many nodes what is so, whichever state is asked for.
    """

    reference: str
    digest: str | None = None
    image_id: str | None = None
    compared: Annotated[str | None, one_of("reference", "set", "most")] = None
    counts: Annotated[dict[str, int], Meta(description="By state.")]
    nodes: list[ImageNode]
    next_cursor: NextCursor = None


@endpoint(
    "image.inventory",
    "GET /image",
    permission=READS,
    narrows=True,
    command=None,
    typed="image list",
)
async def list_images(
    context: Context,
    *,
    reference: Annotated[
        ReferenceText | None,
        Meta(
            description="Images of this name; without a tag and a digest, of this repository.",
            examples=["nginx:1.27", "registry.example/shop"],
        ),
    ] = None,
    digest: Annotated[str | None, Meta(description="The image of this digest, or id.")] = None,
    node: Annotated[
        str | None, Meta(description="Images of this node, by hostname or machine id.")
    ] = None,
    unused: Annotated[
        bool, Meta(description="Images of which no node has a container, running or not.")
    ] = False,
    drift: Annotated[
        bool,
        Meta(description="Images with a name by which nodes know different ones, and that name."),
    ] = False,
    limit: Limit = 100,
    cursor: Cursor | None = None,
) -> ImagePage:
    """Images of all nodes, each once, from what nodes say that they have.

    With a permission that is narrowed to some nodes, the images of these. A filter leaves out
    images, and changes nothing about those that it leaves.
    """
    controller, bounds = context.controller, context.caller.bounds(READS)
    fleet = controller.fleet
    alone = machine(node, context)
    if alone is not None:
        bounds.check([fleet.one(alone)])
    listing, inventories = controller.images.listing, controller.images.inventories
    return await listing.page(
        listing.wanted(
            reference=reference, digest=digest, machine=alone, unused=unused, drift=drift
        ),
        inventories.about_all()
        if bounds.everywhere
        else inventories.about(fleet.unbarred(fleet.inside(bounds))),
        limit=limit,
        after=None if cursor is None else _after(cursor),
    )


@endpoint(
    "image.nodes",
    "GET /image/nodes",
    permission=READS,
    narrows=True,
    command=None,
    typed="image where",
)
async def image_nodes(
    context: Context,
    *,
    reference: Annotated[
        ReferenceText,
        Meta(description="The image; without a tag and a digest, `latest`.", examples=["nginx"]),
    ],
    target: Annotated[
        str, Meta(description="Which nodes are looked at.", examples=["group:web"])
    ] = "_all",
    state: Annotated[State | None, Meta(description="Nodes of which this is so.")] = None,
    limit: Limit = 100,
    cursor: Cursor | None = None,
) -> ImageNodes:
    """Which nodes have an image, which have another by that name, and which have none.

    Nodes are compared with the digest of the reference; where it has none, with that which a set
    wants for it, or else with that which most nodes have. With a permission that is narrowed to
    some nodes, only these are counted.
    """
    controller, bounds = context.controller, context.caller.bounds(READS)
    fleet = controller.fleet
    aim = parsed(target)
    machines = fleet.meant_by(aim, context.caller.seen)
    if not bounds.everywhere:
        machines &= fleet.inside(bounds)
    if not machines:
        raise InvalidRequest(
            f"None of the nodes of {target[:80]!r} is one that this token may ask about.",
            "Its permission docker:read is narrowed: see docs/callers.md",
        )
    inventories = controller.images.inventories
    all_of_them = bounds.everywhere and isinstance(aim, Quantifier)
    return controller.images.places.page(
        Reference.parse(reference),
        machines,
        inventories.about_all() if all_of_them else inventories.about(machines),
        state=state,
        limit=limit,
        after=None if cursor is None else _after(cursor),
        sets="set:read" in context.caller.permissions,
    )
