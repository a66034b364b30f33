"""What removing images frees, where they share layers. Pure.

What an image frees is what it has below no other image that stays. Engines say of an image how
large it is, and some of them how much of it others have as well (`SharedSize`): that is exact for
what it shares with whichever image it has most in common with. Where less than that stays, the
sizes of the single layers say how much, from its history. Nothing is counted twice, and what can't
be known is not counted: it is at least so much that becomes free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from towline.agent.docker.images.answers import HistoryEntry

EMPTY = (
    *("ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER"),
    *("ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME"),
)
"""Instructions of a build that make no layer."""
_BY_A_SHELL = "/bin/sh -c #(nop) "
"""What the older builder writes before such an instruction."""


class Layered(msgspec.Struct, frozen=True):
    """An image by its layers.

    Attributes:
        size: bytes, the engine's own figure.
        layers: the digests of its layers, the lowest first.
        shared: bytes of it that some other image has as well; None where that isn't known.
        sizes: bytes of each layer; None where that isn't known.
    """

    id: str
    size: int
    layers: tuple[str, ...] = ()
    shared: int | None = None
    sizes: tuple[int, ...] | None = None


def freed(going: Sequence[Layered], staying: Iterable[Layered]) -> list[int]:
    """Return how many bytes each of these images frees, in that order, if all of them go.

    What two of them share counts for the last one: only with that is it free.

    Args:
        staying: all other images of the engine.
    """
    chains = _Chains()
    stay = [chains.of(image) for image in staying]
    go = [chains.of(image) for image in going]
    counts: dict[int, int] = {}
    for chain in (*stay, *go):
        for link in chain:
            counts[link] = counts.get(link, 0) + 1
    held = {link for chain in stay for link in chain}
    found = []
    for image, chain in reversed(list(zip(going, go, strict=True))):
        kept = sum(link in held for link in chain)
        shared = sum(counts[link] > 1 for link in chain)
        found.append(max(0, image.size - _up_to(image, kept, shared)))
        held.update(chain)
    return found[::-1]


def layer_sizes(history: Iterable[HistoryEntry], layers: int) -> tuple[int, ...] | None:
    """Return the sizes of an image's layers, the lowest first; None where they can't be told.

    Engines list what made no layer with a size of 0, as they do layers without content.

    Args:
        history: the newest first, as engines list it.
        layers: how many there are.
    """
    entries = list(history)[::-1]
    without = len(entries) - layers
    if without < 0:
        return None
    empty = [number for number, entry in enumerate(entries) if not entry.size]
    # What says that it made none goes first.
    empty.sort(key=lambda number: not _makes_no_layer(entries[number]))
    if without > len(empty):
        return None
    left_out = {*empty[:without]}
    return tuple(entry.size for number, entry in enumerate(entries) if number not in left_out)


def _makes_no_layer(entry: HistoryEntry) -> bool:
    return entry.created_by.removeprefix(_BY_A_SHELL).lstrip().startswith(EMPTY)


def _up_to(image: Layered, count: int, shared: int) -> int:
    """Return how many bytes the lowest layers of an image have.

    Args:
        count: of how many layers.
        shared: how many of them some other image has.
    """
    if count == 0:
        return 0
    # Together they have so many bytes for sure.
    all_of, known = (shared, image.shared) if image.shared else (len(image.layers), image.size)
    assert known is not None
    if count == all_of:
        return known
    sizes = (image.sizes or ())[:all_of]
    return round(known * sum(sizes[:count]) / sum(sizes)) if sum(sizes) else known


class _Chains:
    """Layers upon layers: what images share is the same from the lowest one on."""

    def __init__(self) -> None:
        self._links: dict[tuple[int, str], int] = {}

    def of(self, image: Layered) -> list[int]:
        """Return what each layer of an image is, together with all below it."""
        chain, last = [], -1
        for layer in image.layers:
            last = self._links.setdefault((last, layer), len(self._links))
            chain.append(last)
        return chain
