"""A small world of nodes, their images and sets, in memory: for what is pure about sets."""

from __future__ import annotations

from collections.abc import Iterator

from towline.controller.sets.record import ImageState, SetRecord, WantedImage
from towline.controller.sets.standing import Attempt, Rival
from towline.wire.reference import Reference
from towline.wire.rollout import Waves

NOW = 1_800_000_000.0
NAME = "docker.io/library/nginx:1.27"


def digest(number: int) -> str:
    """Return a digest."""
    return f"sha256:{number:064x}"


def a_set(
    *images: str,
    name: str = "web",
    target: str = "_all",
    waves: Waves | None = None,
    **more: object,
) -> SetRecord:
    """Return a set of some images, of `NAME` where none is given."""
    wanted = [WantedImage(each) for each in images or (NAME,)]
    fields = {
        "id": f"{name}-id",
        "generation": 1,
        "created": NOW,
        "created_by": "ann",
        "changed": NOW,
        "changed_by": "ann",
        "options": waves,
        **more,
    }
    return SetRecord(name=name, target=target, images=wanted, **fields)  # type: ignore[arg-type]


class Node:
    """A node, and what is behind each name on it; None for an inventory that is not known."""

    def __init__(self, machine: str) -> None:
        self.machine = self.hostname = machine
        self.here = True
        self.absence = "not reachable since noon"
        self.drained: float | None = None
        self.docker: str | None = ""
        self.names: dict[str, str] | None = {}

    def can(self, capability: str) -> bool:
        """Whether it has an engine."""
        return self.docker is not None

    def trouble(self, capability: str) -> str:
        """What is wrong with that."""
        return self.docker or ""


class World:
    """What is known, as `towline.controller.sets.standing.Known` has it."""

    def __init__(self, machines: str = "abc") -> None:
        self.nodes = {machine: Node(machine) for machine in machines}
        self.attempts: dict[tuple[str, str], Attempt] = {}
        self.jobs: dict[tuple[str, str], str] = {}
        self.rivals: dict[tuple[str, str], Rival] = {}

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def have(self, machines: str, digest: str, name: str = NAME) -> None:
        """Have nodes have a digest under a name; "" for that they don't have it."""
        for machine in machines:
            names = self.nodes[machine].names
            assert names is not None
            names[name] = digest

    def holds(self, machine: str, image: Reference, digest: str, platform: str = "") -> bool | None:
        """Whether a node has a digest under a name."""
        names = self.nodes[machine].names
        return None if names is None else names.get(str(image)) == digest

    def attempt(
        self, record: SetRecord, image: ImageState, digest: str, machine: str
    ) -> Attempt | None:
        """How the last attempt has ended."""
        return self.attempts.get((digest, machine))

    def job(self, image: ImageState, digest: str, machine: str) -> str:
        """The job that brings a node a digest."""
        return self.jobs.get((digest, machine), "")

    def rival(
        self, record: SetRecord, image: ImageState, digest: str, machine: str
    ) -> Rival | None:
        """Which older set wants something else."""
        return self.rivals.get((digest, machine))
