"""What an engine has on the disk, and what of it could be freed."""

from __future__ import annotations

from towline.agent.docker.engine import Engine
from towline.agent.docker.images.answers import DiskUsage
from towline.agent.docker.images.inspection import look
from towline.operations.image_results import DiskShare, Usage

WITHIN = 55.0
"""Seconds: an engine walks through what containers have written and through volumes for that, and
nodes have a minute for a question."""


async def usage(engine: Engine) -> Usage:
    """Return what images, containers and build cache take of the disk.

    What could be freed of images is what those have that no container was made of, and no other
    image: engines' own figure counts what these share with the others, too.

    Raises:
        TaskFailed: the engine could not be asked.
    """
    found = await engine.ask(DiskUsage, "GET", "system/df", within=WITHIN)
    known = await look(engine)
    ids = [*known.images]
    unused = [id for id in ids if not known.images[id].users]
    # Not all engines say how much all layers have together.
    sizes = await known.sizes(engine, unused if found.layers_size else ids)
    layers = found.layers_size or sum(known.freed(ids, sizes))
    containers = found.containers or []
    cache = found.build_cache or []
    shares = [
        DiskShare(
            *("images", len(ids), len(ids) - len(unused), layers),
            sum(known.freed(unused, sizes)),
        ),
        DiskShare(
            *("containers", len(containers)),
            sum(each.state == "running" for each in containers),
            sum(each.size_rw for each in containers),
            sum(each.size_rw for each in containers if each.state != "running"),
        ),
        DiskShare(
            *("build cache", len(cache)),
            sum(each.in_use for each in cache),
            sum(each.size for each in cache if not each.shared),
            sum(each.size for each in cache if not each.shared and not each.in_use),
        ),
    ]
    return Usage(
        shares, sum(each.size for each in shares), sum(each.reclaimable for each in shares)
    )
