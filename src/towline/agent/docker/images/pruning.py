"""Removing images that nobody needs: what may go is chosen by a rule, and removed one by one."""

from __future__ import annotations

from datetime import datetime

import msgspec

from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused
from towline.agent.docker.images.answers import Inspected
from towline.agent.docker.images.inspection import look
from towline.agent.docker.images.prune_rule import Candidate, Rules, choose
from towline.agent.docker.images.removal import Going, take
from towline.agent.docker.images.stock import Stocked, take_stock
from towline.errors import TaskFailed
from towline.operations.image_results import Pruned, PruneResult
from towline.units import timestamp

MOST_LISTED = 300
"""Images that a result lists: one may have so many bytes."""
IN_USE = 409


async def prune(engine: Engine, rules: Rules, now: float, *, dry: bool) -> PruneResult:
    """Remove the images that may go; see `image.prune`.

    Args:
        now: seconds since 1970.
        dry: whether to remove nothing, and return what would go.

    Raises:
        TaskFailed: the engine could not be asked, or did not remove one of them.
    """
    started: dict[str, str] = {}
    known = await look(engine, started)
    images = known.images
    chosen, kept = choose(
        (_candidate(each, known.inspected[id]) for id, each in images.items()), rules, now
    )
    ids = [each.id for each in chosen]
    # Before any goes: afterwards nobody knows how large its layers were.
    sizes = await known.sizes(engine, ids)
    refused: dict[str, str] = {}
    if not dry:
        ids, used = await _remove(engine, [images[id] for id in ids], started, refused)
        kept = msgspec.structs.replace(kept, used=kept.used + used)
    frees = known.freed(ids, sizes)
    if refused:
        words = "; ".join(f"{images[id].familiar}: {why}" for id, why in [*refused.items()][:3])
        raise TaskFailed(
            f"{len(refused)} of {len(chosen)} images could not be removed ({words}); {len(ids)} "
            f"are gone, which freed {sum(frees)} bytes"
        )
    rows = [
        Pruned(
            *(id, size, images[id].names, images[id].digests),
            None if (made := images[id].held.created) is None else timestamp(made),
        )
        for id, size in zip(ids, frees, strict=True)
    ]
    return PruneResult(
        *(sum(frees), len(rows), rows[:MOST_LISTED], kept, bool(rows), len(rows) > MOST_LISTED)
    )


async def _remove(
    engine: Engine, images: list[Stocked], started: dict[str, str], refused: dict[str, str]
) -> tuple[list[str], int]:
    """Remove images; return the ids of those that are gone, and how many are used by now.

    Args:
        started: see `take_stock`.
        refused: takes why it did not remove some; where it answers no more the rest is left alone.
    """
    gone: list[str] = []
    used = 0
    for image in images:
        async with engine.naming:
            try:
                # It may have got a container, or another name, since it was looked at.
                now = (await take_stock(engine, started=started)).find(image.id)
                if now is None:
                    continue
                if now.users or now.awaiting or now.held != image.held:
                    used += 1
                    continue
                going = Going(now, tuple(now.names), tuple(now.digests), whole=True)
                await take(engine, going)
                gone.append(image.id)
            except EngineRefused as error:
                if error.status == IN_USE:
                    used += 1
                else:
                    refused[image.id] = error.error
            except TaskFailed as error:
                # It answers no more; what has gone by now is said all the same.
                refused[image.id] = error.error
                break
    return gone, used


def _candidate(image: Stocked, inspected: Inspected) -> Candidate:
    made = image.held.created or 0.0
    named = inspected.metadata.last_tag_time if inspected.metadata is not None else None
    since = max(made, _moment(named))
    used = bool(image.users or image.awaiting)
    return Candidate(image.id, image.names, image.digests, made, since, used)


def _moment(text: str | None) -> float:
    """Return a moment in RFC 3339 in seconds since 1970; 0 for none, and for what is none."""
    try:
        return max(0.0, datetime.fromisoformat(text or "").timestamp())
    except (ValueError, OverflowError):
        return 0.0
