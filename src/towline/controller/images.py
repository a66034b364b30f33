"""What a controller knows and does about images: its parts, put together beside the others."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from towline.broker.connection import Connection
from towline.controller.inventory.inventories import Inventories
from towline.controller.inventory.listing import Listing
from towline.controller.inventory.places import Places
from towline.controller.rollout.lease import Lease
from towline.controller.sets.declarations import Declarations
from towline.controller.sets.reconciler import Reconciler
from towline.controller.sets.sets import Sets
from towline.controller.sets.steering import SetSteering
from towline.controller.sets.summaries import Summaries
from towline.errors import BrokerUnreachable
from towline.trust.signing import Signer
from towline.wire.target import parse_target

if TYPE_CHECKING:
    from towline.controller.controller import Controller


class Images:
    """The parts that know of images; a new one is one line here.

    Attributes:
        stored: those that keep something at the broker.
        running: those that have a `run()`.

    Args:
        controller: all other parts.
        nodes: the connection to the nodes' account.
        signer: signs what nodes are sent.
    """

    def __init__(self, controller: Controller, nodes: Connection, signer: Signer) -> None:
        self._fleet = fleet = controller.fleet
        registries = controller.registries
        self.inventories = Inventories(
            *(nodes, signer, fleet, controller.budget),
            *(controller.index, controller.presence.settled),
        )
        self.sets = Sets(controller.jetstream)
        self.listing = Listing(self.inventories)
        self.places = Places(self.inventories, fleet, self.sets)
        self.reconciler = Reconciler(
            *(self.sets, fleet, self.inventories),
            *(controller.open, controller.index, controller.lookup),
            *(controller.submitter, controller.previews, controller.decisions),
            *(Lease(controller.jetstream, "sets"), controller.service.able),
        )
        controller.indexer.subscribe(self.reconciler.folded)
        self.standings = self.reconciler.standings
        self.summaries = Summaries(self.sets, fleet, self.standings)
        self.declarations = Declarations(
            *(self.sets, fleet, self.inventories, registries),
            *(self.standings.view, self.reconciler.names_now),
        )
        self.steering = SetSteering(self.sets, self.declarations)
        self.stored = (self.sets,)
        self.running = (self.inventories, self.sets, self.reconciler)

    def wanted(self, machines: Collection[str]) -> list[str]:
        """Return all references and digests that sets want on some nodes.

        Whoever may change these nodes is shown it: what is wanted elsewhere is no business of his.

        Raises:
            BrokerUnreachable: the sets aren't known yet.
        """
        if not self.sets.known.is_set():
            raise BrokerUnreachable(
                "This controller does not know yet which images sets want: "
                "try again in a few seconds.",
                "It was started a moment ago, or the broker is out of reach",
            )
        return self.sets.wanted(
            record
            for record in self.sets.all()
            if self._fleet.still(parse_target(record.target), machines)
        )
