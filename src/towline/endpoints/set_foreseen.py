"""What declaring a set would come to: how many nodes lack something, and which of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from towline.endpoints.set_views import SetForeseen, SetForeseenNode

if TYPE_CHECKING:
    from towline.controller.sets.declarations import Lacking
    from towline.controller.sets.record import SetRecord

TOGETHER = 100
"""Nodes that a dry run looks at before others have a turn."""
MOST_NAMED = 100
"""Nodes that a dry run names of those that lack an image, that lack nothing, and of which nothing
is known: of a fleet of 10,000 all of them are megabytes."""


async def foreseen(record: SetRecord, done: str, lacking: Iterable[Lacking]) -> SetForeseen:
    """Return what declaring a set would come to: all nodes are counted, and some of them named.

    Args:
        record: the set as it would be.
        done: whether it would be created, changed, or is unchanged.
        lacking: all nodes that it means.
    """
    nodes: list[SetForeseenNode] = []
    named: Counter[tuple[str, bool]] = Counter()
    total = short = 0
    for each in lacking:
        total += 1
        short += bool(each.images)
        if total % TOGETHER == 0:
            await asyncio.sleep(0)
        kinds = [(image, each.known) for image in each.images or [""]]
        if all(named[kind] >= MOST_NAMED for kind in kinds):
            continue
        named.update(kinds)
        node = SetForeseenNode(
            hostname=each.member.hostname,
            machine_id=each.member.machine,
            here=each.member.here,
            known=each.known,
            lacks=each.images,
        )
        nodes.append(node)
    return SetForeseen(
        dry_run=True,
        result=done,
        generation=record.generation,
        target=record.target,
        total=total,
        lacking=short,
        nodes=nodes,
    )
