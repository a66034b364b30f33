"""The domains of what a controller answers by itself, one module each.

Importing this package fills the list of endpoints, `offered`. Nothing in it imports a part of a
controller, but for type checkers.
"""

from towline.endpoint import endpoints as offered
from towline.endpoints import (
    audit,
    events,
    health,
    images,
    jobs,
    joining,
    members,
    node_list,
    nodes,
    operations,
    registries,
    sets,
    targets,
    tokens,
    trust,
)

__all__ = [
    "audit",
    "events",
    "health",
    "images",
    "jobs",
    "joining",
    "members",
    "node_list",
    "nodes",
    "offered",
    "operations",
    "registries",
    "sets",
    "targets",
    "tokens",
    "trust",
]
