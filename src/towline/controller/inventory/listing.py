"""Lists of images: one row for what a registry knows by one digest, however many nodes have it."""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Iterable

import msgspec

from towline.controller.inventory.inventories import About, Inventories
from towline.controller.inventory.rows import Alike, Row, Rows, repository_of
from towline.endpoints.images import After, ImagePage, ImageView, cursor_of
from towline.units import timestamp
from towline.wire.reference import Reference

SLICE = 2000
"""Images that are looked at at a time: others are answered between them."""
LAST = "\x7f"
"""What an image without a name is sorted by: names are of characters before it."""


class Wanted(msgspec.Struct, frozen=True):
    """Which images are asked for.

    Attributes:
        name: in full; "" for any.
        repository: in full; "" for any.
        digest: a digest or an id; "" for any.
        machine: of the node that has them; None for any.
        unused: whether only those of which there is no container.
        drift: whether only those with a name by which nodes know different ones.
    """

    name: str = ""
    repository: str = ""
    digest: str = ""
    machine: str | None = None
    unused: bool = False
    drift: bool = False


class _Found(msgspec.Struct, frozen=True):
    """An image of a list.

    Attributes:
        names: those that are shown, sorted.
        rows: what is known of it on nodes that are asked about.
    """

    key: str
    names: list[str]
    rows: list[Row]

    @property
    def place(self) -> tuple[str, str]:
        """By what the list is sorted."""
        return (self.names[0] if self.names else LAST, self.key)


class Listing:
    """Answers which images there are, from what is known of nodes."""

    def __init__(self, inventories: Inventories) -> None:
        self._inventories = inventories

    def wanted(
        self,
        *,
        reference: str | None = None,
        digest: str | None = None,
        machine: str | None = None,
        unused: bool = False,
        drift: bool = False,
    ) -> Wanted:
        """Return which images are asked for; see `Wanted`.

        Args:
            reference: a name; without a tag and a digest a repository.
        """
        name = repository = ""
        if reference is not None:
            read = Reference.parse(reference)
            repository = read.repository
            if read.tag is not None and ":" in reference.partition("@")[0].rpartition("/")[2]:
                name = f"{repository}:{read.tag}"
            digest = digest or read.digest
        return Wanted(name, repository, digest or "", machine, unused, drift)

    async def page(
        self, wanted: Wanted, about: About, *, limit: int, after: After | None
    ) -> ImagePage:
        """Return a page of images.

        Args:
            about: the nodes that are asked about.
            limit: images at most.
            after: the last of the page before.
        """
        held, unknown = about.nodes, about.unknown
        if wanted.machine is not None:
            number = self._inventories.number(wanted.machine)
            held = 0 if number is None else about.nodes & (1 << number)
            unknown = 0 if held else 1
        found = await self._found(wanted, about, held)
        found.sort(key=lambda each: each.place)
        begin = 0
        if after is not None:
            begin = bisect.bisect(found, (after.first, after.then), key=lambda each: each.place)
        shown = found[begin : begin + limit]
        more = begin + limit < len(found)
        return ImagePage(
            images=[_view(each, about) for each in shown],
            total=len(found),
            unknown=unknown,
            next_cursor=cursor_of(*shown[-1].place) if more else None,
        )

    async def _found(self, wanted: Wanted, about: About, held: int) -> list[_Found]:
        """Return the images that are asked for.

        Args:
            held: the nodes of which one has to have it.
        """
        rows = self._inventories.rows
        drifting = drifts(rows, about.nodes) if wanted.drift else None
        found = []
        for number, each in enumerate(_candidates(rows, wanted), 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            one = _one(each, wanted, about, held, drifting)
            if one is not None:
                found.append(one)
        return found


def _candidates(rows: Rows, wanted: Wanted) -> list[Alike]:
    """Return the images that may be asked for."""
    if wanted.digest:
        alike = rows.by_key.get(wanted.digest)
        return [] if alike is None else [alike]
    if not wanted.repository:
        return list(rows.by_key.values())
    if wanted.name:
        some = rows.by_name.get(wanted.name, {})
    else:
        some = rows.by_repository.get(wanted.repository, {})
    return [rows.by_key[key] for key in dict.fromkeys(key for row in some for key in row.keys)]


def _one(
    alike: Alike, wanted: Wanted, about: About, held: int, drifting: frozenset[str] | None
) -> _Found | None:
    """Return an image where it is asked for, else None."""
    key, rows, names = alike.key, list(alike.rows), alike.names
    if not about.everywhere:
        rows = [row for row in rows if row.nodes & about.nodes]
        if len(rows) < len(alike.rows):
            names = sorted({name for row in rows for name in row.names_of(key)})
    if not rows or (wanted.machine is not None and not any(row.nodes & held for row in rows)):
        return None
    if wanted.unused and any(row.image.used for row in rows):
        return None
    if wanted.name and wanted.name not in names:
        return None
    if wanted.repository and not wanted.name:
        known = any(wanted.repository in row.digests.get(key, ()) for row in rows)
        if not known and wanted.repository not in map(repository_of, names):
            return None
    if drifting is not None:
        names = [name for name in names if name in drifting]
        if not names:
            return None
    return _Found(key, names, rows)


def drifts(rows: Rows, nodes: int) -> frozenset[str]:
    """Return the names by which nodes know different images.

    That is so where nothing that a name stands for is known by it on all nodes that know the name.

    Args:
        nodes: those that are asked about.
    """
    found = set()
    for name, some in rows.by_name.items():
        # Of what all its nodes know alike none differs.
        if len(some) < 2 or len({key for row in some for key in row.stands_for(name)}) < 2:
            continue
        known = nodes_by_key(name, some, nodes)
        everybody = 0
        for each in known.values():
            everybody |= each
        if everybody and everybody not in known.values():
            found.add(name)
    return frozenset(found)


def nodes_by_key(name: str, rows: Iterable[Row], nodes: int) -> dict[str, int]:
    """Return for what a name stands on some nodes, and on which of them for each."""
    known: dict[str, int] = {}
    for row in rows:
        held = row.nodes & nodes
        if held:
            for key in row.stands_for(name):
                known[key] = known.get(key, 0) | held
    return known


def _view(found: _Found, about: About) -> ImageView:
    held = used = 0
    sizes: set[int] = set()
    platforms: set[str] = set()
    created = 0.0
    for row in found.rows:
        image = row.image
        nodes = row.nodes if about.everywhere else row.nodes & about.nodes
        held |= nodes
        if image.used:
            used |= nodes
        sizes.add(image.size)
        if image.platform:
            platforms.add(image.platform)
        created = max(created, image.created or 0.0)
    known = bool(found.rows[0].digests)
    return ImageView(
        digest=found.key if known else None,
        image_id=None if known else found.key,
        names=found.names,
        size=max(sizes),
        sizes=sorted(sizes) if len(sizes) > 1 else [],
        platforms=sorted(platforms),
        created=timestamp(created) if created else None,
        nodes=held.bit_count(),
        used_on=used.bit_count(),
    )
