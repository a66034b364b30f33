"""Where nodes stand against an image of a set, as results of a job say it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from towline.cli.cells import between
from towline.operations.docker import DOCKER
from towline.wire.reference import Reference

if TYPE_CHECKING:
    from towline.client import AgentView
    from towline.endpoints.set_views import SetImageView, SetNode, SetView

OK, FAILED, SKIPPED, CANCELLED = "ok", "failed", "skipped", "cancelled"
PENDING, RUNNING = "pending", "running"
NO_ENGINE = f"this node has no {DOCKER.name}"
"""Why a node that has none does not do it, as of any operation."""
AWAY, WINDOW = "away, gets it when it returns", "waits for the window"
Row = dict[str, Any]


class Against:
    """Says how nodes stand against an image of a set.

    A node that is here and has not ended is pending or running, and has no reason: there is
    something to wait for.

    Args:
        found: the set as it is.
        image: which of its images.
        fleet: the nodes by machine id; None where that is not to be known.
        window: whether the set's window is open.
    """

    def __init__(
        self,
        found: SetView,
        image: SetImageView,
        fleet: Mapping[str, AgentView] | None,
        *,
        window: bool,
    ) -> None:
        self._image = image
        self._fleet = fleet
        # What the tag names is looked up anew when another thing is declared.
        checked = between(found.changed_at, image.checked_at) if image.checked_at else None
        looks = Reference.parse(image.image).digest is None and not image.problem
        self._looking = looks and not found.paused_at and (checked is None or checked < 0)
        self._shut = bool(found.window and image.current and not image.job) and not window
        self._nothing = bool(image.problem) and not image.current and not image.next

    def row(self, node: SetNode) -> Row:
        """Return how a node stands, as a result of a job."""
        row: Row = {"hostname": node.hostname, "machine_id": node.machine_id}
        if node.digest:
            row["digest"] = node.digest
        return row | self._stands(node)

    def _stands(self, node: SetNode) -> Row:
        image = self._image
        behind = bool(image.next) and node.digest != image.next
        if node.state == "failed":
            return {"status": FAILED, "error": node.error or node.reason or ""}
        if node.state == "conflict":
            return {"status": SKIPPED, "reason": node.reason or ""}
        has = node.state == "converged" and not behind
        obstacle = self._obstacle(node)
        if obstacle is not None:
            return {"status": OK} if has else obstacle
        if self._looking:
            return {"status": PENDING}
        if self._nothing:
            return {"status": FAILED, "error": image.problem}
        if has:
            return {"status": OK}
        if image.stopped:
            return {"status": CANCELLED, "reason": image.stopped}
        if behind and self._shut:
            return {"status": PENDING, "reason": WINDOW}
        return {"status": RUNNING if node.job or image.job else PENDING}

    def _obstacle(self, node: SetNode) -> Row | None:
        """Return why nothing can be brought to a node just now, or None."""
        member = None if self._fleet is None else self._fleet.get(node.machine_id)
        if not node.here:
            return {"status": PENDING, "reason": node.reason or AWAY}
        if (member is not None and member.drained_at is not None) or node.reason == NO_ENGINE:
            return {"status": SKIPPED, "reason": node.reason or "drained"}
        if member is not None and DOCKER.name in member.troubles:
            return {"status": PENDING, "reason": member.troubles[DOCKER.name]}
        return None
