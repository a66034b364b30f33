"""One attempt: what is there already, what counts as an orderly end, and what is agreed on."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import pytest

from tests.testing.tasks import a_task
from towline.agent.docker.answers import Image, ImageData, Manifest, ManifestPlatform
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused, Hopeless, Passing
from towline.agent.docker.pull.attempt import Attempt, Hook
from towline.agent.docker.pull.fetching import Fetching
from towline.agent.docker.pull.order import Order
from towline.agent.docker.pull.pulls import Pulls
from towline.errors import TaskFailed
from towline.operations.docker import Pulled
from towline.wire.event import Lead
from towline.wire.job import Job
from towline.wire.platform import Platform
from towline.wire.reference import Reference

REPOSITORY = "registry.example/app"
NAME = f"{REPOSITORY}:1"
OLD, NEW = f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"
OWN_ID, FOREIGN_ID = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
OPENING = {"status": f"Pulling from {REPOSITORY}", "id": "1"}
JOB = Job("job", "docker.pull.execute", {}, "web-01", "ci", 0.0, 60.0)


class Store(Engine):
    """A classic engine without a daemon, and its registry.

    Attributes:
        tag_is: what the tag is at the registry; "" for what can't be found out.
        messages: what a pull says before its end.
        pulls: what was pulled, in turn.
        failure: by which a pull of a digest ends.
        logins, platforms: what was handed on, by what was asked.
    """

    def __init__(self) -> None:
        super().__init__("none://")
        self.platform = Platform("linux", "amd64")
        self.names: dict[str, Image] = {}
        self.tag_is = NEW
        self.messages: list[dict[str, Any]] | None = None
        self.pulls: list[str] = []
        self.failure: TaskFailed | None = None
        self.logins: dict[str, dict[str, str] | None] = {}
        self.platforms: list[Platform | None] = []
        self.go = asyncio.Event()
        self.go.set()

    async def ping(self) -> str:
        return "0"

    async def image(self, name: str) -> Image | None:
        return self.names.get(name)

    async def digest(self, name: str, auth: dict[str, str] | None = None) -> str:
        self.logins["digest"] = auth
        if not self.tag_is:
            raise EngineRefused(404, "page not found")
        return self.tag_is

    async def tag(self, name: str, repository: str, tag: str) -> None:
        self.names[f"{repository}:{tag}"] = self.names[name]

    async def pull(
        self,
        repository: str,
        tag: str,
        auth: dict[str, str] | None = None,
        platform: Platform | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        self.pulls.append(tag)
        self.platforms.append(platform)
        self.logins["pull"] = auth
        await self.go.wait()
        if self.failure is not None and tag.startswith("sha256:"):
            raise self.failure
        digest = tag if tag.startswith("sha256:") else self.tag_is or NEW
        ending = [OPENING, {"status": f"Digest: {digest}"}, {"status": "Status: whatever"}]
        for message in ending if self.messages is None else self.messages:
            yield message
        self.names.setdefault(f"{repository}@{digest}", image(digest))
        if digest != tag:
            self.names[f"{repository}:{tag}"] = image(digest)


def image(digest: str, architecture: str = "amd64") -> Image:
    known = OWN_ID if architecture == "amd64" else FOREIGN_ID
    return Image(known, 1, [], [f"{REPOSITORY}@{digest}"], os="linux", architecture=architecture)


def order(text: str = NAME, **more: Any) -> Order:
    return msgspec.structs.replace(Order(Reference.parse(text)), **more)


async def fetched(engine: Engine, wanted: Order, *hooks: Hook) -> Pulled:
    fetching = Fetching(engine, wanted, hooks)
    attempt = Attempt(wanted, 1, lambda _: None)
    await fetching.first_look()
    found = await fetching.look(attempt, ask=False)
    return found or await fetching.fetch(attempt)


LAYER = {"id": "a", "status": "Pulling fs layer"}
DONE = {"id": "a", "status": "Download complete"}


@pytest.mark.parametrize(
    ("messages", "orderly"),
    [
        ([OPENING, LAYER, DONE, {"status": f"Digest: {NEW}"}], True),
        ([OPENING, {"status": f"Digest: {NEW}"}, {"status": "Status: said otherwise"}], True),
        # Another engine, which neither opens so nor names the digest.
        ([LAYER, DONE], True),
        ([{"id": "a", "status": "Already exists"}], True),
        ([], False),
        ([OPENING], False),
        ([OPENING, LAYER, DONE], False),
        ([LAYER], False),
        ([LAYER, {"id": "a", "status": "Extracting", "progressDetail": {"current": 1}}], False),
        ([DONE, {"id": "b", "status": "Downloading", "progressDetail": {"current": 1}}], False),
    ],
)
async def test_a_stream_is_at_its_end_where_it_is_complete_in_its_own_way(
    messages: list[dict[str, Any]], orderly: bool
) -> None:
    engine = Store()
    engine.messages = messages
    if orderly:
        assert (await fetched(engine, order())).image_id == OWN_ID
    else:
        # Though an image of that name is there.
        engine.names[NAME] = image(OLD)
        with pytest.raises(Passing, match="ended before"):
            await fetched(engine, order())


async def test_a_pull_that_ends_well_and_leaves_nothing_has_failed() -> None:
    class Empty(Store):
        async def image(self, name: str) -> Image | None:
            return None

    with pytest.raises(TaskFailed, match="knows no image"):
        await fetched(Empty(), order())


def lead(digest: str) -> Lead:
    return Lead(digest, "web-02", 0.0)


async def test_what_is_there_of_the_agreed_digest_is_given_the_tag_and_nobody_asked() -> None:
    engine = Store()
    engine.names[f"{REPOSITORY}@{NEW}"] = image(NEW)
    found = await fetched(engine, order(lead=lead(NEW)))
    assert (found.tag, found.digest, found.changed, engine.pulls) == ("1", NEW, True, [])
    assert engine.names[NAME].id == OWN_ID


@pytest.mark.parametrize("unknown", [False, True])
async def test_where_what_is_there_may_be_for_another_platform_the_engine_is_asked(
    unknown: bool,
) -> None:
    engine = Store()
    engine.names[f"{REPOSITORY}@{NEW}"] = image(NEW, "amd64" if unknown else "arm64")
    if unknown:
        engine.platform = None
    found = await fetched(engine, order(lead=lead(NEW)))
    assert found.image_id == OWN_ID
    # The classic store gives a digest to one image: there the tag is pulled, which is that digest.
    assert engine.pulls == [NEW if unknown else "1"]


@pytest.mark.parametrize(("tag_is", "pulls"), [(NEW, [OLD]), ("", ["1", OLD])])
async def test_a_tag_that_is_another_digest_by_now_does_not_stand_in_for_the_agreed_one(
    tag_is: str, pulls: list[str]
) -> None:
    """The digest is pulled: it may well have no image but the one for the other platform."""
    engine = Store()
    engine.tag_is = tag_is
    engine.names[f"{REPOSITORY}@{OLD}"] = image(OLD, "arm64")
    found = await fetched(engine, order(lead=lead(OLD)))
    assert (found.digest, engine.pulls, engine.names[NAME]) == (OLD, pulls, image(OLD, "arm64"))
    engine.failure = EngineRefused(0, f"Cannot overwrite digest {OLD}")
    with pytest.raises(EngineRefused, match="Cannot overwrite"):
        await fetched(engine, order(lead=lead(OLD)))


async def test_what_the_tag_is_shows_in_the_image_where_the_engine_says_nothing_of_it() -> None:
    engine = Store()
    engine.messages = [LAYER, DONE]
    assert (await fetched(engine, order())).digest == NEW
    engine.names = {f"{REPOSITORY}@{NEW}": image(NEW, "arm64")}
    engine.pulls.clear()
    assert (await fetched(engine, order(lead=lead(NEW)))).digest == NEW
    assert engine.pulls == ["1"]


async def test_the_platform_that_is_asked_for_goes_before_the_engines_own() -> None:
    arm = Platform.parse("linux/arm64")
    engine = Store()
    engine.names[f"{REPOSITORY}@{NEW}"] = image(NEW, "arm64")
    found = await fetched(engine, order(lead=lead(NEW), platform=arm))
    assert (found.image_id, engine.pulls) == (FOREIGN_ID, [])
    engine.names[f"{REPOSITORY}@{NEW}"] = image(NEW)
    with pytest.raises(Hopeless):
        await fetched(engine, order(lead=lead(NEW), platform=arm))
    assert engine.platforms == [arm]


@pytest.mark.parametrize(
    ("there", "platform", "left"),
    [("amd64", "", True), ("arm64", "", False), ("arm64", "linux/arm64", True)],
)
async def test_missing_leaves_alone_what_is_for_the_platform(
    there: str, platform: str, left: bool
) -> None:
    wanted = order(policy="missing", platform=Platform.parse(platform) if platform else None)
    engine = Store()
    engine.names[NAME] = image(NEW, there)
    found = await Fetching(engine, wanted, ()).first_look()
    assert (found is not None) is left


async def test_what_an_attempt_has_brought_whose_end_never_came_was_not_there_before() -> None:
    wanted = order(policy="missing")
    engine = Store()
    fetching = Fetching(engine, wanted, ())
    assert await fetching.first_look() is None
    engine.names[NAME] = image(NEW)
    assert await fetching.first_look() is None
    assert (await fetching.fetch(Attempt(wanted, 2, lambda _: None))).changed


async def test_a_digest_that_is_asked_for_has_to_be_a_name_and_no_tag_comes_of_it() -> None:
    pinned = order(f"{REPOSITORY}@{NEW}")
    by_tag_only = Image(NEW, 1, [NAME], manifests=[manifest("amd64")])
    engine = Store()
    engine.names = {NAME: by_tag_only, pinned.name: by_tag_only}
    await fetched(engine, pinned)
    assert engine.pulls == [NEW]
    engine.pulls.clear()
    by_digest = Image(NEW, 1, [pinned.name], manifests=[manifest("amd64")])
    engine.names = {pinned.name: by_digest}
    await fetched(engine, pinned)
    assert (engine.pulls, set(engine.names)) == ([], {pinned.name})
    # No tag stands in for what was asked for, whatever platform the digest's image is for.
    engine.names = {pinned.name: image(NEW, "arm64")}
    await fetched(engine, pinned)
    assert (engine.pulls, set(engine.names)) == ([NEW], {pinned.name})


def manifest(architecture: str, available: bool = True) -> Manifest:
    return Manifest(architecture, available, ImageData(ManifestPlatform("linux", architecture)))


class Containerd(Store):
    """A containerd store with one image, by whichever names.

    Attributes:
        available: whether the image is there for the engine's own platform.
    """

    available = True

    async def image(self, name: str) -> Image | None:
        names = list(self.names)
        found = Image(NEW, 1, names, manifests=[manifest("amd64", self.available)])
        return found if name in names else None

    async def untag(self, name: str) -> None:
        del self.names[name]


async def test_a_digest_that_a_failed_attempt_has_left_as_a_name_is_none_in_the_end() -> None:
    engine, wanted = Containerd(), order(lead=lead(NEW))
    fetching, attempt = Fetching(engine, wanted, ()), Attempt(wanted, 1, lambda _: None)
    engine.messages = [OPENING]
    with pytest.raises(Passing):
        await fetching.fetch(attempt)
    assert set(engine.names) == {f"{REPOSITORY}@{NEW}"}
    assert await fetching.look(attempt, ask=False) is not None
    assert set(engine.names) == {NAME}


async def test_a_digest_that_was_a_name_before_it_was_pulled_is_one_in_the_end() -> None:
    engine = Containerd()
    engine.available = False
    engine.names[f"{REPOSITORY}@{NEW}"] = image(NEW)
    await fetched(engine, order(lead=lead(NEW)))
    assert engine.pulls == [NEW]
    assert set(engine.names) == {f"{REPOSITORY}@{NEW}", NAME}


async def test_an_image_of_which_more_is_there_has_changed_though_its_id_is_the_same() -> None:
    class Adding(Store):
        async def tag(self, name: str, repository: str, tag: str) -> None:
            self.names[f"{repository}:{tag}"] = Image(NEW, 1, manifests=[manifest("amd64")])

    engine = Adding()
    engine.names[NAME] = Image(NEW, 1, manifests=[manifest("amd64", False)])
    found = await fetched(engine, order(lead=lead(NEW)))
    assert (found.image_id, found.changed) == (NEW, True)


async def test_the_login_goes_with_all_that_asks_the_registry() -> None:
    engine = Store()
    fetching = Fetching(engine, order(), ())
    attempt = Attempt(order(), 1, lambda _: None)
    attempt.auth = {"username": "puller"}
    await fetching.look(attempt, ask=True)
    await fetching.fetch(attempt)
    assert engine.logins == {"digest": attempt.auth, "pull": attempt.auth}


@pytest.mark.parametrize(
    ("ask", "more"), [(False, {}), (True, {"leads": "job"}), (True, {"lead": Lead(OLD, "a", 0.0)})]
)
async def test_a_registry_is_not_asked_where_that_does_not_help_or_others_have_a_say(
    ask: bool, more: dict[str, Any]
) -> None:
    """What it says to one node alone would split the fleet."""
    engine = Store()
    engine.names[NAME] = engine.names[f"{REPOSITORY}@{NEW}"] = image(NEW)
    wanted = order(**more)
    attempt = Attempt(wanted, 1, lambda _: None)
    assert await Fetching(engine, wanted, ()).look(attempt, ask=ask) is None
    assert engine.logins == {}


class Watch(Hook):
    async def watch(self, attempt: Attempt) -> None:
        raise Hopeless("no room")


async def test_a_hook_that_watches_ends_the_pull() -> None:
    engine = Store()
    engine.go.clear()
    with pytest.raises(Hopeless, match="no room"):
        await fetched(engine, order(), Watch())


async def test_an_engine_that_passes_over_the_platform_has_not_brought_what_was_asked_for() -> None:
    arm = Platform.parse("linux/arm64")
    with pytest.raises(Hopeless, match="is for linux/amd64 on this node, not for linux/arm64"):
        await fetched(Store(), order(platform=arm))


class Agreement(Hook):
    """Another node had led while this one pulled the tag."""

    def __init__(self, agreed: str) -> None:
        self._agreed = agreed
        self.got: list[str | None] = []

    async def fetched(self, attempt: Attempt, digest: str | None) -> None:
        self.got.append(digest)
        attempt.lead = lead(self._agreed)


@pytest.mark.parametrize(("agreed", "pulls"), [(NEW, ["1"]), (OLD, ["1", OLD])])
async def test_a_node_that_pulled_the_tag_pulls_what_another_has_found_where_that_is_another(
    agreed: str, pulls: list[str]
) -> None:
    engine, agreement = Store(), Agreement(agreed)
    found = await fetched(engine, order(), agreement)
    assert (found.digest, engine.pulls, agreement.got) == (agreed, pulls, [NEW])
    # What was agreed on before is nothing new to the others.
    await fetched(engine, order(lead=lead(OLD)), agreement)
    assert agreement.got == [NEW]


async def test_what_a_tag_is_is_not_asked_apart_where_the_pull_need_not_wait() -> None:
    engine = Store()
    await Pulls(engine).pull(order(), a_task(JOB))
    assert "digest" not in engine.logins


async def test_missing_pulls_what_is_there_for_another_platform_alone() -> None:
    engine = Store()
    engine.names[NAME] = image(OLD, "arm64")
    task = a_task(JOB)
    assert (await Pulls(engine).pull(order(policy="missing"), task)).image_id == OWN_ID


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("text", "tag_is", "waits"),
    [
        (NAME, NEW, False),
        (f"{REPOSITORY}@{NEW}", NEW, False),
        (NAME, OLD, True),
        (NAME, "", True),
        (f"{REPOSITORY}@{OLD}", NEW, True),
    ],
)
async def test_an_image_that_turns_out_to_be_there_does_not_wait_for_a_place(
    text: str, tag_is: str, waits: bool
) -> None:
    engine = Store()
    engine.tag_is = tag_is
    engine.names[NAME] = engine.names[f"{REPOSITORY}@{NEW}"] = image(NEW)
    engine.go.clear()
    pulls = Pulls(engine, max_pulls=1, reported_after=0.0)
    task = a_task(JOB)
    first = asyncio.create_task(pulls.pull(order("registry.example/other:1"), task))
    await until(lambda: bool(engine.pulls))
    recorded: list[str] = []
    waiting = a_task(JOB, step=lambda step: recorded.append(step.name))
    second = asyncio.create_task(pulls.pull(order(text), waiting))
    if waits:
        await until(lambda: bool(recorded))
        assert recorded == ["queued"]
        assert len(engine.pulls) == 1
        engine.go.set()
        await second
    else:
        assert not (await second).changed
        assert (recorded, len(engine.pulls)) == ([], 1)
        engine.go.set()
    await first
