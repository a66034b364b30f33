"""What is printed of sets: the list, one of them, its nodes, what has become of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from towline.cli.cells import Cell, Moment, digest, job_id, node_name
from towline.cli.form import Form
from towline.cli.sets.differences import image_of
from towline.cli.tables import Column, below, hanging, table_lines, value_lines
from towline.cli.watching import Listing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from towline.endpoints.set_views import SetChange, SetImageView, SetNode, SetView

STATES = ("converged", "missing", "failed", "unknown", "conflict")
"""Where a node can stand against a set, in the order in which they are told."""
FEW = 3
"""Images that a row names; of more it says how many."""
PAUSED, CONVERGED = "paused", "converged"


def title(image: SetImageView) -> str:
    """Return what an image of a set is called: its reference, and its platform where it has one."""
    name, platform = image_of({"image": image.image, "platform": image.platform})
    return f"{name} ({platform})" if platform else name


def counts(image: SetImageView) -> dict[str, int]:
    """Return how many nodes stand how against an image of a set, without those that are none."""
    return {state: count for state in STATES if (count := getattr(image, state))}


def counted(numbers: dict[str, int]) -> str:
    """Return such counts in words."""
    return ", ".join(f"{count} {state}" for state, count in numbers.items())


def troubles(found: SetView) -> Iterator[str]:
    """Yield what is the matter with the images of a set, a sentence each."""
    for image in found.images:
        if image.stopped:
            yield f"{title(image)}: stopped: {image.stopped}"
        if image.problem:
            yield f"{title(image)}: {image.problem}"


def _images(found: SetView) -> str:
    names = [title(image) for image in found.images]
    left = len(names) - FEW
    return ", ".join(names if left <= 0 else [*names[:FEW], f"{left} more"])


def _nodes(found: SetView) -> str:
    """Return on how many nodes an image is of how many: of that which is on the fewest."""
    of = [(each.converged, sum(counts(each).values())) for each in found.images]
    done, total = min(of, default=(0, 0))
    return f"{done} of {total}"


def _row(found: SetView) -> list[Cell]:
    return [
        *(found.name, found.status, found.target, _images(found), _nodes(found)),
        *(Moment(found.changed_at), found.changed_by, found.source, "; ".join(troubles(found))),
    ]


LISTING: Listing[SetView] = Listing(
    [
        Column("SET"),
        Column("STATUS"),
        Column("TARGET", gives_way=2, least=12),
        Column("IMAGES", gives_way=1, least=12),
        Column("NODES"),
        Column("CHANGED", gives_way=3),
        Column("BY", wide=True),
        Column("SOURCE", gives_way=5, least=8, optional=True),
        Column("TROUBLE", words=True, optional=True),
    ],
    row=_row,
    name=lambda found: found.name,
    key=lambda found: found.name,
    urgent=lambda found: found.status != CONVERGED,
)
"""How a list of sets is shown."""


def set_lines(found: SetView, form: Form, *, now: float | None = None) -> list[str]:
    """Return the lines that show a set: what was declared, each image, and what is the matter.

    Args:
        now: the present moment, in seconds since 1970; None to look.
    """
    options = found.options
    given = {} if options is None else {n: getattr(options, n) for n in options.__struct_fields__}
    follows = "the digest that each tag named when this was declared"
    values: dict[str, Cell | list[Cell]] = {
        "set": found.name,
        "status": found.status,
        "paused": f"since {found.paused_at} by {found.paused_by}" if found.paused_at else None,
        "target": found.target,
        "follows": f"tags, looked up every {found.every}" if found.follow == "tag" else follows,
        "window": found.window,
        "keeps": None if found.keep is None else f"{found.keep} older digests",
        "options": ", ".join(f"{n} {v}" for n, v in given.items() if v is not None),
        "source": found.source,
        "changed": Moment(found.changed_at),
        "by": found.changed_by,
        "generation": str(found.generation) if form.output == "wide" else None,
    }
    lines = [*value_lines(values, form, now=now), "", *_image_lines(found.images, form, now)]
    for image in found.images:
        for each in image.failures:
            lines += ["", *hanging("", f"{title(image)} failed: {each.hostname}", form.width)]
            lines += below(each.error, form.width)
    return lines


def _image_lines(images: Sequence[SetImageView], form: Form, now: float | None) -> list[str]:
    return table_lines(
        _IMAGE_COLUMNS,
        map(_image_row, images),
        form,
        width=form.width,
        now=now,
    )


def _image_row(image: SetImageView) -> list[Cell]:
    return [
        *(image_of(image.image)[0], image.platform),
        *(digest(image.current or ""), digest(image.next or "")),
        job_id(image.job) if image.job else None,
        counted(counts(image)) or "no node",
        "; ".join(filter(None, [image.stopped and f"stopped: {image.stopped}", image.problem])),
    ]


_IMAGE_COLUMNS = [
    Column("IMAGE"),
    Column("PLATFORM", optional=True, gives_way=3),
    Column("DIGEST", gives_way=1),
    Column("NEXT", gives_way=2, optional=True),
    Column("JOB", gives_way=4, optional=True),
    Column("NODES", words=True),
    Column("TROUBLE", words=True, optional=True),
]


class Stand(msgspec.Struct, frozen=True):
    """How far an image of a set is, and what the set's status is meanwhile."""

    status: str
    image: SetImageView


def standings(found: SetView) -> list[Stand]:
    """Return how far each image of a set is."""
    return [Stand(found.status, each) for each in found.images]


IMAGES: Listing[Stand] = Listing(
    [Column("STATUS"), *_IMAGE_COLUMNS],
    row=lambda stand: [stand.status, *_image_row(stand.image)],
    name=lambda stand: stand.image.image,
    key=lambda stand: f"{stand.image.image} {stand.image.platform}",
    urgent=lambda stand: stand.image.converged < sum(counts(stand.image).values()),
)
"""How a set is shown that is watched."""


def nodes_of(alike: Collection[str]) -> Listing[SetNode]:
    """Return how the nodes of a set are shown.

    Args:
        alike: the hostnames that several of them have.
    """

    def row(node: SetNode) -> list[Cell]:
        return [
            node_name(node.hostname, node.machine_id, alike),
            *(image_of(node.image)[0], node.platform, node.state, digest(node.digest or "")),
            job_id(node.job) if node.job else None,
            "; ".join(filter(None, [node.error, node.reason])),
        ]

    return Listing(
        [
            Column("NODE"),
            Column("IMAGE", gives_way=1, least=12),
            Column("PLATFORM", gives_way=3, optional=True),
            Column("STATE"),
            Column("DIGEST", gives_way=2),
            Column("JOB", gives_way=4, optional=True),
            Column("WHY", words=True, optional=True),
        ],
        row,
        name=lambda node: node.machine_id if node.hostname in alike else node.hostname,
        key=lambda node: f"{node.machine_id} {node.image} {node.platform}",
        urgent=lambda node: node.state != CONVERGED,
    )


HISTORY = [
    Column("TIME"),
    Column("WHAT"),
    Column("IMAGE", gives_way=1, least=12, optional=True),
    Column("DIGEST", gives_way=2, optional=True),
    Column("BY", gives_way=3, least=8),
    Column("JOB", gives_way=4, optional=True),
    Column("WHY", words=True, optional=True),
]


def change_cells(change: SetChange) -> list[Cell]:
    """Return the cells of an entry of a set's history."""
    return [
        Moment(change.timestamp),
        change.what.replace("_", " "),
        image_of(change.image)[0] if change.image else None,
        digest(change.digest or ""),
        change.by,
        job_id(change.job) if change.job else None,
        digest(change.reason or ""),
    ]
