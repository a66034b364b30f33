"""What is printed of images: a list, one, who has it, and where names mean different ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from towline.cli import outcome
from towline.cli.cells import (
    Cell,
    Moment,
    digest,
    image_name,
    image_names,
    in_form,
    node_name,
    twins,
)
from towline.cli.form import Form
from towline.cli.results import FEW, in_a_row, most_names
from towline.cli.tables import INDENT, Column, hanging, sign, table_lines, value_lines
from towline.cli.watching import Listing
from towline.units import show_size

if TYPE_CHECKING:
    from towline.endpoints.images import ImageNode, ImageNodes, ImageView
    from towline.endpoints.set_views import SetImageView, SetView

WORDS = {"has": "have it", "other": "another digest", "none": "none", "unknown": "unknown"}
"""What a sum says of nodes."""
COMPARED = {"set": "as a set wants it", "most": "as most have it"}
"""Where the digest is from with which nodes are compared, unless the reference has it."""
WHERE_STATUS = (
    "Exit status: 0 all nodes have it, 1 some have none or another, 3 no node has any, "
    "4 none is known to lack it, and of some it is unknown, 2 refused, 5 controller unreachable "
    "(docs/cli.md)."
)


def status_of(counts: Mapping[str, int]) -> int:
    """Return the exit status of a command that asked whether nodes have an image.

    Args:
        counts: of how many nodes what is so.
    """
    has, other, none, unknown = (counts.get(each, 0) for each in WORDS)
    if none and not has and not other:
        return outcome.NOTHING_DONE
    if none or other:
        return outcome.FAILED
    return outcome.GOES_ON if unknown else outcome.ALL_WELL


def key_of(image: ImageView) -> str:
    """Return what an image is known by: its digest, or the engine's id where it has none."""
    return str(image.digest or image.image_id)


def is_called(image: ImageView, text: str) -> bool:
    """Return whether a digest or an id, whole or the beginning of it, means an image."""
    return any(each.startswith(text) for each in (image.digest, image.image_id) if each)


def _row(image: ImageView) -> list[Cell]:
    return [
        image_names(image.names),
        digest(key_of(image)),
        show_size(image.size),
        ", ".join(image.platforms) or None,
        str(image.nodes),
        str(image.used_on),
        None if image.created is None else Moment(image.created),
    ]


LISTING: Listing[ImageView] = Listing(
    [
        Column("IMAGE"),
        Column("DIGEST", gives_way=2),
        Column("SIZE", gives_way=3),
        Column("PLATFORM", gives_way=5, optional=True),
        Column("NODES"),
        Column("USED ON", gives_way=1),
        Column("CREATED", gives_way=4, optional=True),
    ],
    row=_row,
    name=key_of,
    key=lambda image: " ".join([key_of(image), *image.names]),
    urgent=lambda image: bool(image.names),
)
"""How a list of images is shown."""


class Shown(msgspec.Struct, frozen=True):
    """One image, with what else is known of it.

    Attributes:
        on: which nodes have it; None where that could not be asked.
        wanted_by: the sets that want it, by name.
    """

    image: ImageView
    on: ImageNodes | None
    wanted_by: Sequence[str] = ()

    def wanting(self, sets: Iterable[SetView]) -> list[str]:
        """Return the names of the sets that want it, or are about to."""
        digest = self.image.digest
        return [
            found.name
            for found in sets
            if any(digest and digest in (each.current, each.next) for each in found.images)
        ]

    def document(self) -> dict[str, Any]:
        """Return what programs are told of it: `on` has the nodes."""
        found: dict[str, Any] = msgspec.to_builtins(self.image)
        found |= {} if self.on is None else {"on": msgspec.to_builtins(self.on.nodes)}
        return found | {"wanted_by": list(self.wanted_by)}


def image_lines(shown: Shown, form: Form) -> list[str]:
    """Return all that is known of one image, a line a value."""
    image, on = shown.image, shown.on
    values: dict[str, Cell | list[Cell]] = {
        "image": [image_name(name) for name in image.names],
        "digest": None if image.digest is None else digest(image.digest),
        "id": None if image.image_id is None else digest(image.image_id),
        "size": ", ".join(map(show_size, image.sizes or [image.size])),
        "platform": ", ".join(image.platforms) or None,
        "created": None if image.created is None else Moment(image.created),
        "nodes": f"{image.nodes}, in use on {image.used_on}",
        "on": None if on is None else in_a_row(_named(on.nodes, form), most_names(form)),
        "wanted by": ", ".join(shown.wanted_by) or None,
    }
    return value_lines(values, form)


def where_lines(name: str, found: ImageNodes, form: Form, *, each: bool = False) -> list[str]:
    """Return the lines that say who has an image: a sum, and then whoever is worth a line.

    Args:
        name: as people know it.
        each: whether each of the nodes has a row, however many there are.
    """
    dot = f" {sign('·', '-')} "
    some = [each for each in WORDS if found.counts.get(each)]
    counts = [f"{found.counts[each]} {WORDS[each]}" for each in some]
    if found.counts.get("has") == 1:
        counts[0] = "1 has it"
    facts = [", ".join(counts) or "no node"]
    if (key := _meant(found)) is not None:
        compared = COMPARED.get(found.compared or "")
        shown = in_form(digest(key), form)
        facts.append(f"{shown}, {compared}" if compared else shown)
    lines = hanging(f"{name}: ", dot.join(facts), form.width, indent=INDENT)
    if len(found.nodes) <= FEW or form.all_nodes or each:
        return [*lines, *_rows(found, form)]
    return [*lines, *_groups(found, form)]


def nodes_named(found: ImageNodes, state: str) -> list[str]:
    """Return the nodes of which something is so, as scripts name them."""
    alike = _alike(found.nodes)
    of = [node for node in found.nodes if node.state == state]
    return [node.machine_id if node.hostname in alike else node.hostname for node in of]


def _rows(found: ImageNodes, form: Form) -> list[str]:
    alike = _alike(found.nodes)
    wide = form.output == "wide"
    rows: list[list[Cell]] = [
        [
            node_name(node.hostname, node.machine_id, alike),
            node.state,
            None if node.digest is None or not (wide or node.state == "other") else _held(node),
            str(node.used) if node.used else None,
            None if node.here else "away",
        ]
        for node in found.nodes
    ]
    if not rows:
        return []
    return table_lines(
        [
            *(Column("NODE"), Column("STATE")),
            Column("DIGEST", gives_way=2, optional=True),
            Column("CONTAINERS", gives_way=1, optional=True),
            Column("", words=True, optional=True),
        ],
        rows,
        form,
        width=form.width,
    )


def _groups(found: ImageNodes, form: Form) -> list[str]:
    """Return the nodes that don't have it, together where the same is so of them."""
    groups: dict[str, list[ImageNode]] = {}
    for state, words in (("other", "have"), ("none", "have none"), ("unknown", "unknown")):
        for node in found.nodes:
            if node.state != state:
                continue
            held = in_form(_held(node), form) if state == "other" else ""
            away = ", away" if state == "unknown" and not node.here else ""
            groups.setdefault(f"{words} {held}{away}".replace(" ,", ","), []).append(node)
    lines: list[str] = []
    for words, nodes in groups.items():
        count = f"{len(nodes)} {words.strip()}: "
        listed = in_a_row(_named(nodes, form, _alike(found.nodes)), most_names(form))
        lines += hanging(count, listed, form.width, indent=INDENT // 2)
    return lines


class Drift(msgspec.Struct, frozen=True):
    """A name that means different images on different nodes.

    Attributes:
        name: in full.
        images: those that it means, that which most nodes have first.
        others: the nodes that have another than is wanted, or than most have.
    """

    name: str
    images: Sequence[ImageView]
    others: ImageNodes

    def nodes_with(self, key: str) -> list[ImageNode]:
        """Return those of `others` that have an image, by its digest or id."""
        return [node for node in self.others.nodes if key in (node.digest, node.image_id)]

    def document(self) -> dict[str, Any]:
        """Return what programs are told of it."""
        return {
            **{"name": self.name, "digest": self.others.digest, "compared": self.others.compared},
            "counts": self.others.counts,
            "images": [
                {**msgspec.to_builtins(each), "others": self.nodes_with(key_of(each))}
                for each in self.images
            ],
        }


def names_that_differ(images: Iterable[ImageView]) -> dict[str, list[ImageView]]:
    """Return the names that several images have, each with these, the most common first."""
    found: dict[str, list[ImageView]] = {}
    for image in sorted(images, key=lambda each: -each.nodes):
        for name in image.names:
            found.setdefault(name, []).append(image)
    return {name: each for name, each in sorted(found.items()) if len(each) > 1}


def drift_lines(drifts: Sequence[Drift], form: Form) -> list[str]:
    """Return a row for each image that each of some names means, with the nodes that stand out."""
    rows: list[list[Cell]] = []
    for drift in drifts:
        for image in drift.images:
            key = key_of(image)
            nodes = _named(drift.nodes_with(key), form, _alike(drift.others.nodes))
            words = in_a_row(nodes, most_names(form))
            if key == _meant(drift.others):
                words = COMPARED.get(drift.others.compared or "", "")
            rows.append([image_name(drift.name), digest(key), str(image.nodes), words])
    return table_lines(
        [Column("IMAGE"), Column("DIGEST"), Column("NODES"), Column("WHICH", words=True)],
        rows,
        form,
        width=form.width,
    )


def unmet(found: SetView) -> bool:
    """Return whether nodes that are here don't have what a set wants."""
    return any(_amiss(image) for image in found.images)


def unmet_lines(sets: Iterable[SetView], form: Form) -> list[str]:
    """Return a row for each image of sets that some node does not have as it ought to."""
    rows: list[list[Cell]] = [
        [found.name, found.status, image_name(image.image), "; ".join(_amiss(image))]
        for found in sets
        for image in found.images
        if _amiss(image)
    ]
    return table_lines(
        [Column("SET"), Column("STATUS"), Column("IMAGE"), Column("WHAT", words=True)],
        rows,
        form,
        width=form.width,
    )


def _amiss(image: SetImageView) -> list[str]:
    """Return what is not as it ought to be about an image of a set."""
    counts = {name: getattr(image, name) for name in ("missing", "failed", "conflict")}
    counted = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    stopped = f"stopped: {image.stopped}" if image.stopped else ""
    return [each for each in (counted, stopped, image.problem) if each]


def _meant(found: ImageNodes) -> str | None:
    """Return the digest, or the id, with which nodes are compared; None where there is none."""
    return found.digest or found.image_id


def _held(node: ImageNode) -> Cell:
    return digest(str(node.digest or node.image_id))


def _alike(nodes: Iterable[ImageNode]) -> frozenset[str]:
    return twins((node.hostname, node.machine_id) for node in nodes)


def _named(
    nodes: Sequence[ImageNode], form: Form, alike: frozenset[str] | None = None
) -> list[str]:
    known = _alike(nodes) if alike is None else alike
    return [in_form(node_name(each.hostname, each.machine_id, known), form) for each in nodes]
