"""What a pull would come to, by what an engine says: which digest, and whether it is there."""

import asyncio
import time
from typing import Any

import pytest

from tests.testing.tasks import Answers, a_task
from towline.agent.docker.answers import Image
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused, Hopeless
from towline.agent.docker.kind import Kind
from towline.agent.docker.pull.attempt import Attempt
from towline.agent.docker.pull.credentials import Credentials
from towline.agent.docker.pull.disk import Disk, Room
from towline.agent.docker.pull.foresight import Foresight
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.releases import Releases
from towline.errors import TaskFailed
from towline.operations.docker import Policy, PullPlan
from towline.runtime.keys import KEY_BYTES, NodeKey
from towline.wire.cooldown import Cooldown
from towline.wire.event import Lead
from towline.wire.job import Job
from towline.wire.platform import Platform
from towline.wire.reference import Reference

DIGEST, OTHER, ID = (f"sha256:{letter * 64}" for letter in "de1")
IMAGE = Reference.parse("localhost:5000/a/b:1.0")
JOB = Job("job", "docker.pull.execute.preview", {}, "_all", "ci", 0.0, 0.0)
DISK = Disk("/var/lib/docker", 100, 40)


class Asked(Engine):
    """An engine with one image at most, whose registry answers as a test says."""

    def __init__(self, answer: str | TaskFailed | None, there: str | None, arch: str) -> None:
        super().__init__("none://")
        self.platform = Platform.parse("linux/amd64")
        self.answer, self.there, self.arch = answer, there, arch
        self.resolved = 0

    async def digest(self, name: str, auth: dict[str, str] | None = None) -> str:
        self.resolved += 1
        if self.answer is None:
            await asyncio.sleep(60)
        if isinstance(self.answer, TaskFailed):
            raise self.answer
        return self.answer or ""

    async def image(self, name: str) -> Image | None:
        if self.there is None or name.partition("@")[2] not in ("", self.there):
            return None
        digests = [f"{IMAGE.repository}@{self.there}"]
        return Image(ID, 7, repo_digests=digests, os="linux", architecture=self.arch)


class Enough(Room):
    """A disk with enough room, or not."""

    def __init__(self, engine: Engine, *, enough: bool) -> None:
        super().__init__(engine)
        self.enough = enough

    async def before(self, attempt: Attempt) -> None:
        if not self.enough:
            raise Hopeless("no room on the disk", Kind.UNSTORABLE)

    async def look(self) -> tuple[Disk, int] | None:
        return DISK, 5


async def foresee(
    answer: str | TaskFailed | None = DIGEST,
    there: str | None = None,
    *,
    image: Reference = IMAGE,
    policy: Policy = "always",
    arch: str = "amd64",
    enough: bool = True,
    **release: Any,
) -> tuple[PullPlan, int]:
    """Return the plan, and how often the registry was asked."""
    engine = Asked(answer, there, arch)
    credentials = Credentials(Releases(Answers(), time.time), NodeKey(bytes(KEY_BYTES)), None)
    room = Enough(engine, enough=enough)
    foresight = Foresight(engine, credentials, room, time.time, resolved_within=0.01)
    task = a_task(JOB, **release)
    plan = await foresight.of(Order.of(task, image, 0, 1.0, policy, "once", None), task)
    assert (plan.free, plan.kept, plan.disk) == (40, 5, "/var/lib/docker")
    return plan, engine.resolved


@pytest.mark.parametrize(
    ("there", "arch", "changed"),
    [
        (None, "amd64", True),
        (DIGEST, "amd64", False),
        (OTHER, "amd64", True),
        # What the engine has of the digest is for another platform: it may bring another image.
        (DIGEST, "arm64", None),
    ],
)
async def test_whether_it_would_change_is_said_where_it_is_sure(
    there: str | None, arch: str, changed: bool | None
) -> None:
    plan, _ = await foresee(there=there, arch=arch)
    assert (plan.digest, plan.unresolved, plan.changed) == (DIGEST, None, changed)
    assert (plan.image_id, plan.size) == ((None, None) if there is None else (ID, 7))


async def test_what_is_known_is_not_asked_of_the_registry() -> None:
    lead = Lead(OTHER, "web-07", 0.0)
    pinned = Reference.parse(f"{IMAGE.repository}@{OTHER}")
    for more in ({"lead": lead}, {"image": pinned}):
        plan, asked = await foresee(**more)
        assert (plan.digest, asked) == (OTHER, 0)
    plan, asked = await foresee(there=OTHER, policy="missing", enough=False)
    assert (plan.digest, plan.changed, asked) == (OTHER, False, 0)


async def test_why_a_tag_is_not_resolved_is_said() -> None:
    plan, _ = await foresee(EngineRefused(404, "manifest unknown"), there=DIGEST)
    assert (plan.digest, plan.changed) == (None, None)
    assert plan.unresolved == "manifest unknown"
    plan, _ = await foresee(None)
    assert (plan.unresolved, plan.changed) == ("the registry did not say within 0.01 s", True)


async def test_a_registry_that_cools_down_is_left_alone() -> None:
    now = time.time()
    resting = Cooldown("localhost:5000", now, now + 60, now + 90, 1, "web-07", "too many requests")
    plan, asked = await foresee(cooldown=resting)
    assert asked == 0
    assert plan.unresolved is not None
    assert plan.unresolved.startswith("localhost:5000 is left alone until ")
    over = Cooldown("localhost:5000", now - 90, now - 60, now, 1, "web-07", "too many requests")
    assert (await foresee(cooldown=over))[1] == 1


async def test_a_pull_for_which_there_is_no_room_would_fail_unless_all_is_there() -> None:
    with pytest.raises(Hopeless, match="no room"):
        await foresee(enough=False)
    plan, _ = await foresee(there=DIGEST, enough=False)
    assert plan.changed is False
