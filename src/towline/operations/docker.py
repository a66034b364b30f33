"""Images and containers on the node's Docker Engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from towline.operation import Capability, Effect, Node, operation
from towline.signature import Check, Flag
from towline.signature.shown import BYTES, MORE, SAME
from towline.units import parse_duration
from towline.wire.fact_references import refers
from towline.wire.platform import Platform
from towline.wire.reference import Reference, parse_registry

RETRIES = 4
STALL_TIMEOUT = "5m"
SHORTEST_STALL = 1.0
"""Seconds: less would fail pulls that only wait for their turn at a registry."""


def _stall_timeout(text: str) -> None:
    if parse_duration(text) < SHORTEST_STALL:
        raise ValueError(f"{text[:40]!r} is too short, write 1s or more")


ImageReference = Annotated[
    str,
    Meta(
        min_length=1,
        description="Image reference: [host[:port]/]path[:tag][@digest]",
        examples=["nginx:latest", "docker.io/library/alpine:3.18"],
    ),
    Check(Reference.parse, canonical=lambda image: image.pulled),
]

Retries = Annotated[
    int,
    Meta(
        ge=0,
        le=100,
        description="How often a pull that failed is tried again, where that may help.",
    ),
]

StallTimeout = Annotated[
    str,
    Meta(
        description="An attempt fails when no byte arrives for so long: 90s, 5m. Ten times that "
        "without an extraction step.",
        examples=["5m", "90s"],
    ),
    Flag("DURATION"),
    Check(_stall_timeout),
]

Policy = Annotated[
    Literal["always", "missing"],
    Meta(
        description="always asks the registry; missing leaves an image alone that is there.",
    ),
]


Resolve = Annotated[
    Literal["once", "each"],
    Meta(
        description="once: of several nodes one resolves the tag, and all pull that digest; each: "
        "every node resolves it for itself.",
    ),
]


PlatformName = Annotated[
    str,
    Meta(
        min_length=1,
        description="What the image is to be for: OS/ARCHITECTURE[/VARIANT]. Unless given, each "
        "engine's own platform.",
        examples=["linux/arm64", "linux/arm/v7"],
    ),
    Flag("PLATFORM"),
    Check(Platform.parse),
]


ContainerState = Literal["running", "stopped", "all"]


class Pulled(msgspec.Struct, frozen=True, omit_defaults=True):
    """An image as it is on the node after a pull.

    Attributes:
        image_id: the engine's id, `sha256:…`.
        size: bytes, the engine's own figure.
        changed: whether the image behind the reference is another than before.
        tag: the tag asked for; absent for a pull by digest alone.
        digest: the manifest digest that the registry served.
    """

    image_id: str
    size: Annotated[int, BYTES]
    changed: bool
    tag: str | None = None
    digest: Annotated[str, SAME] | None = None


class PullPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a pull would come to on a node, as far as that can be known before.

    Attributes:
        digest: the manifest digest that would be pulled.
        unresolved: why that is not known.
        changed: whether another image would be behind the reference than now, or there is none;
            absent where that can't be told.
        image_id: the engine's id of the image that is behind the reference now; absent for none.
        size: bytes of that image, the engine's own figure.
        free: bytes that are free on the disk with the engine's images; absent where that can't be
            seen, as of an engine on another machine.
        kept: bytes of that disk that pulls leave free (`min-free`).
        disk: what the engine keeps there, as a path.
    """

    digest: Annotated[str, SAME] | None = None
    unresolved: str | None = None
    changed: bool | None = None
    image_id: str | None = None
    size: Annotated[int, BYTES] | None = None
    free: Annotated[int, BYTES] | None = None
    kept: Annotated[int, BYTES] | None = None
    disk: str | None = None


class Container(msgspec.Struct, frozen=True, omit_defaults=True):
    """A container, running or not."""

    id: str
    name: str
    image: str
    state: str
    created: str


class Containers(msgspec.Struct, frozen=True):
    """The containers of a node, the newest first.

    Attributes:
        truncated: whether the node has more than `limit` of them.
    """

    containers: list[Container]
    changed: bool = False
    truncated: Annotated[bool, MORE] = False


class Docker(Protocol):
    """What the operations here need of a node's Docker Engine."""

    async def pull(
        self,
        image: Reference,
        *,
        retries: int,
        stall_timeout: float,
        policy: Policy,
        resolve: Resolve,
        platform: Platform | None,
    ) -> Pulled:
        """Pull an image; `stall_timeout` in seconds, all else as in `docker.pull`.

        Raises:
            TaskFailed: it could not be pulled; with the engine's own words.
        """

    async def foresee(
        self, image: Reference, *, policy: Policy, resolve: Resolve, platform: Platform | None
    ) -> PullPlan:
        """Return what a pull would come to, and pull nothing.

        Raises:
            TaskFailed: it would fail.
        """

    async def containers(self, *, state: ContainerState, limit: int) -> list[Container]:
        """Return containers in a state, the newest first, at most so many.

        Raises:
            TaskFailed: the engine could not be asked.
        """


DOCKER = Capability[Docker]("docker")


def _registry(parameters: Mapping[str, Any]) -> str | None:
    """Return the image's registry; None where only the node will know it, from its facts."""
    image: str = parameters["image"]
    if refers(image):
        # What stands before the first slash is all that says where an image is.
        registry, _, _ = image.partition("/")
        if refers(registry):
            return None
        image = f"{registry}/name"
    return parse_registry(Reference.parse(image).domain)


def _resolved_once(parameters: Mapping[str, Any]) -> bool:
    """Whether one node is to resolve the tag for all: a digest needs no resolving."""
    if parameters.get("resolve", "once") != "once":
        return False
    return Reference.parse(parameters["image"]).digest is None


@operation(
    "docker.pull.execute",
    "POST container/docker/pull",
    permission="docker:write",
    effect=Effect.CONVERGE,
    requires=DOCKER,
    credential_for=_registry,
    leads=_resolved_once,
)
async def pull(
    node: Node,
    *,
    image: Annotated[ImageReference, Flag(several=True)],
    retries: Retries = RETRIES,
    stall_timeout: StallTimeout = STALL_TIMEOUT,
    policy: Policy = "always",
    resolve: Resolve = "once",
    platform: PlatformName | None = None,
) -> Pulled:
    """Pull a container image on the target node.

    Example:
        towline pull nginx:1.27 --on group:web
    """
    return await node.provider(DOCKER).pull(
        Reference.parse(image),
        retries=retries,
        stall_timeout=parse_duration(stall_timeout),
        policy=policy,
        resolve=resolve,
        platform=Platform.parse(platform) if platform is not None else None,
    )


@pull.previewed(finds="digest")
async def preview_pull(
    node: Node,
    *,
    image: ImageReference,
    policy: Policy,
    resolve: Resolve,
    platform: PlatformName | None,
) -> PullPlan:
    """Foresee a pull: from which digest, with which room."""
    return await node.provider(DOCKER).foresee(
        Reference.parse(image),
        policy=policy,
        resolve=resolve,
        platform=Platform.parse(platform) if platform is not None else None,
    )


@operation(
    "docker.list.get",
    "GET container/docker",
    permission="docker:read",
    effect=Effect.READ,
    requires=DOCKER,
)
async def list_containers(
    node: Node,
    *,
    state: Annotated[
        ContainerState, Meta(description="Only those that run, or don't, or all.")
    ] = "all",
    limit: Annotated[int, Meta(ge=1, le=100, description="At most so many containers.")] = 20,
) -> Containers:
    """List the containers on the target node.

    Example:
        towline docker list --on web-01 --state running
    """
    # One more than is wanted tells whether there are more.
    found = await node.provider(DOCKER).containers(state=state, limit=limit + 1)
    return Containers(found[:limit], truncated=len(found) > limit)
