"""What tags name now: when that is looked up, and of whom it is asked."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.testing.sets import NAME, NOW, Node, a_set, digest
from towline.controller.jobs.previews import Forecast, Foresight
from towline.controller.jobs.submission import Submission
from towline.controller.moment import LocalClock
from towline.controller.sets.changes import Changes
from towline.controller.sets.record import ImageState, SetRecord, SetState
from towline.controller.sets.resolution import CANNOT, Resolution, is_due

ONE, TWO = digest(1), digest(2)


def test_a_tag_is_due_every_so_often_and_at_once_when_it_is_declared() -> None:
    record = a_set(every=60.0)
    for checked, now, due in (
        (None, NOW, True),
        (NOW + 1, NOW + 60, False),
        (NOW + 1, NOW + 61, True),
        (NOW - 1, NOW, True),  # declared since
        (NOW + 3600, NOW, True),  # by a clock that was wrong
    ):
        assert is_due(record, ImageState(NAME, checked=checked), now) is due


def test_what_is_pinned_is_looked_up_once_for_each_declaration() -> None:
    record = a_set(follow="digest")
    assert is_due(record, ImageState(NAME), NOW)
    assert not is_due(record, ImageState(NAME, checked=NOW + 1), NOW + 10**6)


def test_a_digest_that_was_given_is_asked_of_nobody() -> None:
    image = ImageState(f"{NAME}@{ONE}")
    assert is_due(a_set(), image, NOW)
    assert not is_due(a_set(), msgspec.structs.replace(image, next=ONE), NOW)


class Asked:
    """Nodes that are asked, what they say, and what is noted of it."""

    def __init__(self, *says: str) -> None:
        self.says = list(says)
        self.nodes: list[str] = []
        self.pulled: list[str] = []
        self.pulls = TWO
        self.state = SetState("web-id")
        self.ran = 0.0
        self.clock = LocalClock(lambda: self.ran, lambda: NOW + self.ran)
        self.resolution = Resolution(
            self,  # type: ignore[arg-type]
            *(self.pull, self.note, lambda: True, self.clock, lambda: None),
        )

    async def foresee(self, request: Submission, *, wait: float) -> Forecast:
        self.nodes.append(str(request.target))
        said = self.says.pop(0)
        plan: dict[str, Any] = {"digest" if said.startswith("sha256:") else "unresolved": said}
        foreseen = Foresight(str(request.target), str(request.target), "would_run", plan=plan)
        return Forecast(None, [foreseen])  # type: ignore[arg-type]

    async def pull(self, record: SetRecord, image: ImageState, machine: str) -> tuple[str, str]:
        self.pulled.append(machine)
        return self.pulls, ""

    async def note(self, name: str, change: Changes) -> None:
        self.state = change(self.state)

    async def look(self, *nodes: Node, window: bool = True, **more: Any) -> float | None:
        """Begin, and wait until it is over."""
        record = a_set(every=60.0, **more)
        wait = self.resolution.begin(record, self.state, lambda: nodes, window=window)
        while self.resolution._asking:
            await asyncio.sleep(0)
        return wait

    @property
    def image(self) -> ImageState:
        return self.state.images[0]


async def test_another_node_is_asked_where_one_cannot_say() -> None:
    asked = Asked("the registry is away", ONE)
    await asked.look(Node("a"), Node("b"))
    assert sorted(asked.nodes) == ["a", "b"]
    assert (asked.image.next, asked.image.checked, asked.image.problem) == (ONE, NOW, "")
    # And the next time when it is due.
    assert await asked.look(Node("a")) == 60


async def test_what_cannot_be_looked_up_says_why_and_is_tried_again_after_growing_pauses() -> None:
    asked = Asked(*["the registry is away"] * 20)
    pauses = []
    for _ in range(4):
        await asked.look(Node("a"))
        pause = await asked.look(Node("a"))
        assert pause is not None
        pauses.append(pause)
        asked.ran += pause + 0.01
    assert asked.image.problem == "a: the registry is away"
    assert pauses == sorted(pauses)
    assert 8 <= pauses[0] <= 10
    assert pauses[-1] <= 60, "never longer than it takes until it is due anyhow"
    # Whoever declares it anew doesn't wait.
    asked.says = [ONE]
    await asked.look(Node("a"), generation=2)
    assert (asked.image.next, asked.image.problem) == (ONE, "")


async def test_what_is_declared_while_a_tag_is_looked_up_is_looked_up_after_that() -> None:
    asked = Asked(ONE, TWO)
    foresee = asked.foresee

    async def slowly(request: Submission, *, wait: float) -> Forecast:
        asked.ran += 20.0
        return await foresee(request, wait=wait)

    asked.foresee = slowly  # type: ignore[method-assign]
    await asked.look(Node("a"), follow="digest")
    assert asked.image.next == ONE
    await asked.look(Node("a"), follow="digest", generation=2, changed=NOW + 10.0)
    assert asked.image.next == TWO


async def test_whoever_says_that_a_set_is_to_go_on_waits_for_no_pause() -> None:
    asked = Asked("manifest unknown", ONE)
    await asked.look(Node("a"))
    await asked.look(Node("a"))
    assert asked.nodes == ["a"], "it is not due yet"
    asked.state = msgspec.structs.replace(asked.state, renewed=NOW + 1)
    await asked.look(Node("a"))
    assert asked.image.next == ONE


async def test_where_nobody_could_be_asked_nothing_is_said_and_whoever_comes_is_asked() -> None:
    asked = Asked(ONE)
    away = Node("a")
    away.here = False
    noted = asked.state
    await asked.look(away)
    assert asked.state is noted, "that is nothing to be alarmed by"
    away.here = True
    await asked.look(away)
    assert asked.image.next == ONE


async def test_where_no_engine_can_ask_a_node_pulls_the_tag_but_only_in_the_window() -> None:
    asked = Asked(*[CANNOT] * 9)
    await asked.look(Node("a"), Node("b"))
    assert (asked.pulled, asked.image.next) == (["a"], TWO)
    current = msgspec.structs.replace(asked.image, current=ONE, next="", checked=None)
    asked.state = msgspec.structs.replace(asked.state, images=[current])
    asked.ran += 60
    await asked.look(Node("a"), window=False)
    assert asked.pulled == ["a"]
    assert CANNOT in asked.image.problem


@pytest.mark.parametrize(
    "said",
    ["sha256:1 2", f"{ONE}0", "sha256:\r", "sha256:" + "é" * 64],
    ids=["space", "too long", "control character", "not hex"],
)
async def test_what_is_no_digest_is_taken_from_no_node_and_another_is_asked(said: str) -> None:
    asked = Asked(said, said)
    await asked.look(Node("a"), Node("b"))
    assert (len(asked.nodes), asked.image.next) == (2, "")
    assert "which is no digest" in asked.image.problem
    asked = Asked(said, ONE)
    await asked.look(Node("a"), Node("b"))
    assert asked.image.next == ONE


async def test_nor_from_one_that_has_pulled_the_tag() -> None:
    asked = Asked(CANNOT)
    asked.pulls = "sha256:all of them"
    await asked.look(Node("a"))
    assert (asked.pulled, asked.image.next) == (["a"], "")
    assert "'sha256:all of them', which is no digest" in asked.image.problem
