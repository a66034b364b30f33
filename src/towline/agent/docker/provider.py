"""The Docker Engine, as a provider: the engine, its pulls, and what has a say in them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from towline.agent.docker import answers
from towline.agent.docker.engine import Engine
from towline.agent.docker.images.node_images import NodeImages
from towline.agent.docker.inventory import EngineInventory
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.cooldown import Cooldowns
from towline.agent.docker.pull.credentials import Credentials
from towline.agent.docker.pull.disk import MIN_FREE, Room
from towline.agent.docker.pull.docker_config import DockerConfiguration
from towline.agent.docker.pull.faults import classify
from towline.agent.docker.pull.foresight import Foresight
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.pulls import Pulls
from towline.agent.docker.pull.releases import Releases
from towline.agent.docker.pull.resolution import Resolution
from towline.agent.docker.pull.slots import MAX_PULLS
from towline.agent.provider import Context, Task
from towline.errors import TaskFailed, sentence
from towline.operations.docker import (
    DOCKER,
    Container,
    ContainerState,
    Policy,
    Pulled,
    PullPlan,
    Resolve,
)
from towline.runtime.registries import ALL, Registries
from towline.units import Share
from towline.wire.platform import Platform
from towline.wire.reference import Reference, parse_registry

_STATES: dict[ContainerState, str] = {
    "running": "running",
    "stopped": "created,exited,dead",
    "all": "",
}
"""The engine's own states, by commas."""


class DockerProvider:
    """Brings a Docker Engine to a node.

    Attributes:
        offered: whether the node has one, working at this moment or not.
        trouble: why it does not work at this moment, or "".
        inventory: what images it has.

    Args:
        named: whether somebody named that engine: then it counts as there even if it has never
            been seen.
        configuration: the node's Docker configuration; None where it is to be left alone.
        min_free: how much of the disk with the engine's images pulls leave free.
        max_pulls: how many pulls run at a time.
        registries: those that images may come from, by the node's own settings.
    """

    capability = DOCKER.name

    def __init__(
        self,
        context: Context,
        *,
        engine: Engine,
        named: bool,
        configuration: DockerConfiguration | None,
        min_free: Share = MIN_FREE,
        max_pulls: int = MAX_PULLS,
        registries: Registries = ALL,
    ) -> None:
        self.offered = named
        self.trouble = "not asked yet"
        self.inventory = EngineInventory(engine, context.start)
        self._engine = engine
        self._registries = registries
        releases = Releases(context.questions, context.now)
        credentials = Credentials(releases, context.key, configuration)
        room = Room(engine, min_free)
        hooks = [
            credentials,
            Cooldowns(releases, context.questions, context.hostname, context.now),
            room,
            Resolution(engine, releases),
        ]
        self._pulls = Pulls(engine, hooks, max_pulls)
        self._foresight = Foresight(engine, credentials, room, context.now)

    async def probe(self) -> None:
        """Ask the engine whether it is there."""
        try:
            await self._engine.ping()
            if self.trouble:
                self.inventory.listen_again()
            self.offered, self.trouble = True, ""
        except TaskFailed as error:
            fault = classify(error)
            self.trouble = fault.told
            # One that the agent may not use, or not so, is there.
            self.offered = self.offered or fault.kind is Kind.LACKING

    def serve(self, task: Task) -> TaskDocker:
        """Return what operations are given for one task."""
        return TaskDocker(
            self._engine, self._pulls, self._foresight, task, self._registries, self.inventory.due
        )

    async def close(self) -> None:
        """Close the connections to the engine."""
        await self._engine.close()


class TaskDocker:
    """A Docker Engine for one task; see `towline.operations.docker.Docker`.

    Attributes:
        images: those that it has; see `towline.operations.image.Images`.

    Args:
        changed: called when the task may have changed which images there are: not every engine
            tells of it.
    """

    def __init__(
        self,
        engine: Engine,
        pulls: Pulls,
        foresight: Foresight,
        task: Task,
        registries: Registries,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.images = NodeImages(engine, changed)
        self._engine = engine
        self._pulls = pulls
        self._foresight = foresight
        self._task = task
        self._registries = registries
        self._changed = changed

    async def pull(
        self,
        image: Reference,
        *,
        retries: int,
        stall_timeout: float,
        policy: Policy,
        resolve: Resolve,
        platform: Platform | None,
    ) -> Pulled:
        """Pull an image, together with all tasks of this node that want the same."""
        self._check(image)
        order = Order.of(self._task, image, retries, stall_timeout, policy, resolve, platform)
        try:
            return await self._pulls.pull(order, self._task)
        finally:
            self._changed()

    async def foresee(
        self, image: Reference, *, policy: Policy, resolve: Resolve, platform: Platform | None
    ) -> PullPlan:
        """Return what a pull would come to, and pull nothing."""
        self._check(image)
        order = Order.of(self._task, image, 0, 1.0, policy, resolve, platform)
        return await self._foresight.of(order, self._task)

    def _check(self, image: Reference) -> None:
        """Refuse an image from a registry that this node takes none from."""
        problem = self._registries.problem(parse_registry(image.domain))
        if problem is not None:
            raise TaskFailed(
                f"{sentence('This node takes no image from that registry', problem)}.",
                "The setting registries of its agent says from which ones it does",
                status=403,
            )

    async def containers(self, *, state: ContainerState, limit: int) -> list[Container]:
        """Return containers in a state, the newest first, at most so many."""
        found = await self._engine.containers(
            everything=state != "running", limit=limit, state=_STATES[state]
        )
        return [_container(each) for each in found]


def _container(found: answers.Container) -> Container:
    created = datetime.fromtimestamp(found.created, UTC)
    return Container(
        id=found.id,
        name=(found.names or ["/"])[0].removeprefix("/"),
        image=found.image,
        state=found.state,
        created=created.isoformat().replace("+00:00", "Z"),
    )
