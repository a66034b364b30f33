"""`/target`: what jobs can be for, as far as it has a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated

from msgspec import Meta

from towline.endpoint import Context, endpoint
from towline.endpoints.fields import View
from towline.wire.target import Label

READS = "agent:read"


class TargetView(View, frozen=True, kw_only=True):
    """A target that has a name: a hostname, or a label."""

    target: str
    nodes: Annotated[int, Meta(description="How many nodes it means.")]
    ready: Annotated[int, Meta(description="How many of these are here.")]


class Targets(View, frozen=True, kw_only=True):
    """Targets that begin with a text: labels first, then hostnames, each sorted."""

    targets: list[TargetView]
    total: Annotated[int, Meta(description="How many there are, those that are left out too.")]


@endpoint("target.list", "GET /target", permission=READS, narrows=True, command=None)
async def list_targets(
    context: Context,
    *,
    prefix: Annotated[
        str, Meta(max_length=255, description="What they begin with.", examples=["group:w"])
    ] = "",
    limit: Annotated[int, Meta(ge=1, le=10_000, description="At most so many.")] = 1000,
) -> Targets:
    """The hostnames and labels that jobs can be for, for completing what somebody types.

    With a permission that is narrowed to some nodes, those of these. Of a label with a dotted
    value, `group:web.dev`, those above it are there as well: `group:web`.
    """
    fleet = context.controller.fleet
    members = fleet.some(fleet.inside(context.caller.bounds(READS)))
    labels: Counter[str] = Counter()
    hostnames: Counter[str] = Counter()
    ready: Counter[str] = Counter()
    for member in members:
        named = {each for each in labels_of(member.labels) if each.startswith(prefix)}
        labels.update(named)
        if member.hostname.startswith(prefix):
            hostnames[member.hostname] += 1
            named.add(member.hostname)
        if member.here:
            ready.update(named)
    found = [
        TargetView(target=name, nodes=count, ready=ready[name])
        for counted in (labels, hostnames)
        for name, count in sorted(counted.items())
    ]
    return Targets(targets=found[:limit], total=len(found))


def labels_of(labels: Iterable[Label]) -> Iterator[str]:
    """Yield the labels that mean a node: those that it carries, and those above them."""
    for label in labels:
        segments = label.value.split(".")
        for count in range(1, len(segments) + 1):
            yield f"{label.key}:{'.'.join(segments[:count])}"
