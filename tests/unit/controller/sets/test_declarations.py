"""Declaring sets, among those that there are: contradictions, and what nodes lack."""

import time
from typing import Any

import msgspec
import pytest

from tests.testing.sets import NAME, a_set, digest
from tests.unit.controller.inventory.world import World
from towline.controller.auth import Caller
from towline.controller.jobs.open import OpenJobs
from towline.controller.member import Member
from towline.controller.permissions import parse_grant
from towline.controller.registries import AllowedRegistries
from towline.controller.sets.attempts import Attempts
from towline.controller.sets.declarations import Declarations
from towline.controller.sets.record import (
    MOST_CHANGES,
    Change,
    ImageState,
    SetRecord,
    SetState,
)
from towline.controller.sets.sets import Sets, state_of
from towline.controller.sets.steering import SetSteering
from towline.controller.sets.view import View
from towline.errors import Conflict, Forbidden, NotFound
from towline.runtime.registries import ALL, Registries
from towline.wire.inventory import ImageHeld
from towline.wire.target import parse_target

ADMIN = Caller("ann", ["admin"], frozenset({"set:write", "docker:write"}), time.time() + 60)
REPOSITORY = NAME.partition(":")[0]


class InMemory(Sets):
    """Sets of one controller, which keeps them itself."""

    def __init__(self, *records: SetRecord, **states: list[ImageState]) -> None:
        self._records = {each.name: each for each in records}
        self._kept = {each.name: SetState(each.id, states.get(each.name, [])) for each in records}
        self._most = 1000
        self.changes = 0

    async def until_known(self) -> None:
        """Know all."""

    async def newest(self, name: str) -> tuple[SetRecord | None, int]:
        """Return a declaration."""
        return self.get(name), 1

    async def put(self, record: SetRecord, last: int) -> None:
        """Keep a declaration."""
        self._records[record.name] = record

    def _take(self, record: SetRecord, sequence: int) -> None:
        pass

    async def change(self, name: str, alter: Any, allow: Any = lambda record: None) -> SetState:
        """Keep a state."""
        self.changes += 1
        record = self._records[name]
        allow(record)
        self._kept[name] = alter(state_of(record, self._kept.get(name)))
        return self._kept[name]


class Declaring:
    """What declares sets on two nodes, of which one can be asked what tags name.

    Attributes:
        tags: what they name by now.
        asked: which nodes were asked.
    """

    def __init__(self, *records: SetRecord, **states: list[ImageState]) -> None:
        self.world = World("m1", "m2")
        self.world.beat(machine="m1", capabilities={"docker": ""})
        self.sets = InMemory(*records, **states)
        self.tags: dict[str, str] = {}
        self.asked: list[str] = []
        known = (self.world.fleet, self.world.inventories, self.sets, OpenJobs())
        attempts = Attempts(self.world.fleet.clock)
        self.declarations = Declarations(
            *(self.sets, self.world.fleet, self.world.inventories, AllowedRegistries(ALL)),
            *(lambda: View(*known, attempts), self.names_now),
        )
        self.steering = SetSteering(self.sets, self.declarations)

    async def names_now(self, record: SetRecord, image: ImageState, node: Member) -> str:
        """Say what a tag names."""
        self.asked.append(node.hostname)
        return self.tags.get(image.image, "")

    async def put(self, name: str, *images: str, platform: str = "", **more: Any) -> str:
        """Declare a set; return what became of it."""
        target = parse_target(more.pop("target", "_all"))
        wanted = [(each, platform) for each in images or (NAME,)]
        declared = self.declarations.read(target=target, images=wanted, **more)
        _, done = await self.declarations.put(ADMIN, name, declared)
        return done


def at(number: int, image: str = NAME, **more: Any) -> list[ImageState]:
    return [ImageState(image, current=digest(number), **more)]


async def test_two_that_want_different_digests_under_one_name_are_refused_by_name() -> None:
    pinned = a_set(name="pinned", follow="digest")
    declaring = Declaring(pinned, pinned=at(1))
    declaring.tags[NAME] = digest(2)
    for follow in ("tag", "digest"):
        with pytest.raises(Conflict) as refused:
            await declaring.put("web", follow=follow)
        assert "The set 'pinned' wants another nginx:1.27 on m1, m2" in refused.value.error
        assert digest(1) in refused.value.error
    assert [each.name for each in declaring.sets.all()] == ["pinned"]
    # While the tag names the same, and where nobody is there to say, there is no contradiction yet.
    declaring.tags[NAME] = digest(1)
    assert await declaring.put("web") == "created"
    declaring.tags.clear()
    assert await declaring.put("other", follow="digest") == "created"
    assert {*declaring.asked} == {"m1"}


@pytest.mark.parametrize(
    ("images", "more"),
    [
        ((f"{NAME}@{digest(3)}",), {}),
        (("docker.io/library/nginx:1.28",), {}),
        ((NAME,), {"target": "group:db"}),
    ],
)
async def test_what_is_not_under_one_name_on_one_node_contradicts_nothing(
    images: tuple[str, ...], more: dict[str, Any]
) -> None:
    declaring = Declaring(a_set(name="pinned", follow="digest"), pinned=at(1))
    declaring.tags = {each: digest(2) for each in images}
    assert await declaring.put("web", *images, **more) == "created"


async def test_two_that_follow_one_tag_go_where_it_goes() -> None:
    declaring = Declaring(a_set(name="first"), first=at(1, next=digest(2)))
    declaring.tags[NAME] = digest(3)
    assert await declaring.put("second") == "created"
    assert declaring.asked == []


async def test_for_two_platforms_there_is_one_name() -> None:
    declaring = Declaring(a_set(name="first"))
    with pytest.raises(Conflict, match=r"wants another nginx:1.27 on m1, m2: each its own"):
        await declaring.put("second", platform="linux/arm64")


async def test_by_a_digest_alone_a_node_has_an_image_for_as_many_platforms_as_sets_want() -> None:
    image = f"{REPOSITORY}@{digest(1)}"
    declaring = Declaring(a_set(image, name="first"), first=at(1, image))
    assert await declaring.put("second", image, platform="linux/arm64") == "created"
    assert declaring.asked == []


async def test_what_contradicts_by_now_may_stay_as_it_is() -> None:
    declaring = Declaring()
    await declaring.put("web")
    await declaring.sets.put(a_set(name="pinned", follow="digest"), 0)
    await declaring.sets.change(
        "pinned", lambda state: msgspec.structs.replace(state, images=at(1))
    )
    declaring.tags[NAME] = digest(2)
    assert await declaring.put("web") == "unchanged"
    with pytest.raises(Conflict):
        await declaring.put("web", every=60.0)


async def test_a_declaration_that_was_stored_and_not_noted_is_noted_by_the_next() -> None:
    declaring = Declaring()
    await declaring.put("web")
    declaring.sets._kept.clear()
    assert await declaring.put("web") == "unchanged"
    assert [each.what for each in declaring.sets.state("web").history] == ["declared"]
    changes = declaring.sets.changes
    assert await declaring.put("web") == "unchanged"
    assert declaring.sets.changes == changes


async def test_the_history_says_what_a_declaration_has_changed() -> None:
    declaring = Declaring()
    await declaring.put("web", NAME, "docker.io/library/redis:7")
    await declaring.put("web", NAME, "docker.io/library/redis:8", every=60.0)
    await declaring.put("web", NAME, "docker.io/library/redis:8", platform="linux/arm64")
    assert [each.reason for each in declaring.sets.state("web").history] == [
        "",
        "+ redis:8, - redis:7, every",
        "+ nginx:1.27 for linux/arm64, + redis:8 for linux/arm64, - nginx:1.27, - redis:8, every",
    ]


async def test_a_rollout_that_has_stopped_goes_on_with_what_is_declared_next() -> None:
    declaring = Declaring(a_set(), web=at(1, next=digest(2), stopped="two failed"))
    await declaring.put("web", every=60.0)
    (image,) = declaring.sets.state("web").images
    assert (image.current, image.next, image.stopped) == (digest(1), digest(2), "")


async def test_what_is_declared_again_is_looked_up_anew_where_the_tag_named_nothing() -> None:
    declaring = Declaring(a_set(), web=[ImageState(NAME, problem="a: manifest unknown")])
    await declaring.put("web", every=60.0)
    assert declaring.sets.state("web").images[0].problem == ""
    declaring = Declaring(a_set(), web=[ImageState(NAME, problem="a: manifest unknown")])
    await declaring.put("web")
    declaring.sets._kept["web"] = msgspec.structs.replace(
        declaring.sets.state("web"), images=[ImageState(NAME, problem="a: manifest unknown")]
    )
    assert await declaring.put("web") == "unchanged"
    state = declaring.sets.state("web")
    assert (state.images[0].problem, state.renewed is not None) == ("", True)


async def test_it_is_noted_and_goes_on_after_however_many_entries_of_its_history() -> None:
    declaring = Declaring(a_set(), web=at(1, next=digest(2), stopped="two failed"))
    entries = [Change(time.time(), "set:web", "resolved")] * MOST_CHANGES
    declaring.sets._kept["web"] = msgspec.structs.replace(
        declaring.sets.state("web"), history=entries
    )
    await declaring.put("web", every=60.0)
    state = declaring.sets.state("web")
    assert (state.history[-1].what, state.images[0].stopped) == ("changed", "")
    assert (state.noted, state.renewed) == (2, declaring.sets.all()[0].changed)
    # And nothing is noted twice when it has fallen out.
    declaring.sets._kept["web"] = msgspec.structs.replace(state, history=entries)
    changes = declaring.sets.changes
    await declaring.put("web", every=60.0)
    assert declaring.sets.changes == changes


async def test_of_a_set_that_a_caller_may_not_change_no_request_says_what_it_is() -> None:
    declaring = Declaring(a_set())
    grants = {each: [parse_grant(f"{each}@group:db")] for each in ("set:write", "docker:write")}
    narrowed = Caller("eve", [], frozenset(), time.time() + 60, grants)
    declared = declaring.declarations.read(target=parse_target("group:db"), images=[(NAME, "")])
    for each in (declaring.declarations.put, declaring.declarations.foresee):
        with pytest.raises(Forbidden) as refused:
            await each(narrowed, "web", declared, ['"another"'])
        assert "ann" not in str(refused.value)


async def test_what_asks_a_registry_that_is_not_allowed_any_more_may_only_stay_as_it_is() -> None:
    declaring = Declaring(a_set(), web=at(1))
    allowed = AllowedRegistries(Registries.of(["registry.internal"]))
    declaring.declarations._registries = allowed
    for each in (declaring.declarations.put, declaring.declarations.foresee):
        same = declaring.declarations.read(target=parse_target("_all"), images=[(NAME, "")])
        assert (await each(ADMIN, "web", same))[1] == "unchanged"
        another = msgspec.structs.replace(same, keep=1)
        with pytest.raises(Forbidden, match="registry"):
            await each(ADMIN, "web", another)


async def test_a_dry_run_says_what_each_node_lacks() -> None:
    declaring = Declaring(a_set(), web=at(1))
    held = ImageHeld("sha256:1", [f"{REPOSITORY}@{digest(1)}"], [NAME, "docker.io/library/redis:7"])
    declaring.world.have("m1", held)
    images = [(each, "") for each in (NAME, "docker.io/library/redis:7", "docker.io/library/a:1")]
    declared = declaring.declarations.read(target=parse_target("_all"), images=images)
    record, done, lacking = await declaring.declarations.foresee(ADMIN, "web", declared)
    assert (record.generation, done) == (2, "changed")
    found = {each.member.hostname: (each.known, each.images) for each in lacking}
    assert found == {"m1": (True, ["docker.io/library/a:1"]), "m2": (False, [])}
    declaring.sets._kept["web"] = SetState("web-id", at(2))
    _, _, lacking = await declaring.declarations.foresee(ADMIN, "web", declared)
    assert next(lacking).images == [NAME, "docker.io/library/a:1"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"current": digest(2), "before": [digest(1), digest(0)]},
            {"current": digest(1), "before": [digest(0)], "rejected": [digest(2)]},
        ),
        (  # a rollout that goes on, or has stopped, is given up
            {"current": digest(1), "next": digest(2), "before": [digest(0)], "stopped": "failed"},
            {"current": digest(1), "before": [digest(0)], "rejected": [digest(2)]},
        ),
        (
            {"current": digest(2), "before": [digest(1)], "rejected": [digest(1), digest(3)]},
            {"current": digest(1), "rejected": [digest(3), digest(2)]},
        ),
    ],
)
async def test_a_rollback_goes_to_the_digest_before_and_rejects_the_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    declaring = Declaring(a_set(), web=[ImageState(NAME, **before)])
    await declaring.steering.roll_back(ADMIN, "web", None)
    state = declaring.sets.state("web")
    (image,) = state.images
    assert image.since is not None
    after["given_up"] = [digest(2)]
    assert msgspec.structs.replace(image, since=None) == ImageState(NAME, **after)
    (change,) = state.history
    assert (change.what, change.by, change.digest) == ("rolled_back", "ann", digest(1))


async def test_only_what_has_a_digest_before_is_rolled_back() -> None:
    other = "docker.io/library/redis:7"
    states = [*at(2, before=[digest(1)]), *at(5, other)]
    declaring = Declaring(a_set(NAME, other), web=states)
    with pytest.raises(Conflict, match="no other digest of redis:7"):
        await declaring.steering.roll_back(ADMIN, "web", other)
    with pytest.raises(NotFound):
        await declaring.steering.roll_back(ADMIN, "web", "docker.io/library/a:1")
    await declaring.steering.roll_back(ADMIN, "web", None)
    assert [each.current for each in declaring.sets.state("web").images] == [digest(1), digest(5)]
    with pytest.raises(Conflict, match="no other digest of its images"):
        await declaring.steering.roll_back(ADMIN, "web", None)
