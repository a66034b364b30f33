"""What declaring a set would come to, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from towline.cli.cells import Cell, node_name, twins
from towline.cli.output import print_document, print_names
from towline.cli.sets.changes import body_of
from towline.cli.sets.differences import differences, image_of, said
from towline.cli.tables import Column, print_table
from towline.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from towline.cli.form import Form
    from towline.endpoints.set_views import SetForeseen, SetForeseenNode, SetView

CREATED, CHANGED, UNCHANGED, REMOVED = "created", "changed", "unchanged", "removed"
WOULD = {
    **{CREATED: "would be created", CHANGED: "would be changed", REMOVED: "would be removed"},
    UNCHANGED: "would stay as it is",
}
COLUMNS = [Column("NODE"), Column("LACKS", gives_way=1, least=12), Column("WHY", words=True)]


def lacking(foreseen: SetForeseen) -> str:
    """Return how many nodes a set would mean, and how many of them lack something of it."""
    if not foreseen.total:
        return f"no node is {foreseen.target} yet"
    return f"{foreseen.lacking} of {foreseen.total} nodes lack something"


def print_foreseen(
    foreseen: SetForeseen,
    name: str,
    found: SetView | None,
    body: Mapping[str, Any],
    form: Form,
) -> None:
    """Print what declaring a set would come to, and which nodes lack what.

    Args:
        found: the set as it is; None where there is none.
        body: what would be declared.
    """
    needing = [each for each in foreseen.nodes if each.lacks or not each.known]
    if form.document:
        print_document(foreseen, form)
    elif form.output == "name":
        print_names(each.hostname for each in needing)
        _say_left(foreseen)
    else:
        say(f"dry run: set {name} {WOULD[foreseen.result]}: {lacking(foreseen)}")
        before = None if found is None else said(body_of(found))
        lines = differences(before, said(body))
        if lines:
            say(*(f"  {line}" for line in lines))
        if needing:
            alike = twins((each.hostname, each.machine_id) for each in foreseen.nodes)
            print_table(COLUMNS, [_row(each, alike) for each in needing], form)
        _say_left(foreseen)


def _say_left(foreseen: SetForeseen) -> None:
    left = foreseen.lacking - sum(bool(each.lacks) for each in foreseen.nodes)
    if left > 0:
        say(f"{left} more nodes lack something, and are not named", error=True)


def _row(node: SetForeseenNode, alike: frozenset[str]) -> list[Cell]:
    why = [] if node.here else ["away, would get it when it returns"]
    if not node.known:
        why.append("what it has is not known")
    return [
        node_name(node.hostname, node.machine_id, alike),
        ", ".join(image_of(each)[0] for each in node.lacks),
        "; ".join(why),
    ]
