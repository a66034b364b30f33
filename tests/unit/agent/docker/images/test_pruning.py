"""What a prune does of which the engine is no more as it was when it began."""

from typing import Any

import pytest

from towline.agent.docker.answers import ListedImage
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused, EngineUnreachable
from towline.agent.docker.images import pruning
from towline.agent.docker.images.answers import Inspected, MadeOfImage
from towline.agent.docker.images.inspection import Known
from towline.agent.docker.images.prune_rule import Rules
from towline.agent.docker.images.removal import Going
from towline.agent.docker.images.stock import Stock, stock_of
from towline.errors import TaskFailed

IDS = [f"sha256:{digit * 64}" for digit in "abc"]


class Lists(Engine):
    """An engine that says nothing of layers."""

    async def ask(self, *asked: Any, **more: Any) -> Any:
        raise EngineRefused(500, "no history")


async def test_what_has_gone_is_said_of_an_engine_that_answers_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stock = stock_of([ListedImage(id, [f"app:{id[7]}"]) for id in IDS], [])
    tried: list[str] = []

    async def look(engine: Engine, started: dict[str, str]) -> Known:
        return Known(stock, {id: Inspected(id) for id in IDS})

    async def take_stock(engine: Engine, *, started: dict[str, str]) -> Stock:
        return stock

    async def take(engine: Engine, going: Going) -> None:
        tried.append(going.image.id)
        if len(tried) == 2:
            raise EngineUnreachable("no answer within 60 s")

    for each in (look, take_stock, take):
        monkeypatch.setattr(pruning, each.__name__, each)
    said = "1 of 3 images could not be removed .*no answer within 60 s.*; 1 are gone"
    with pytest.raises(TaskFailed, match=said):
        await pruning.prune(Lists("none://"), Rules(), 2e9, dry=False)
    assert len(tried) == 2


@pytest.mark.parametrize("by_now", ["another name", "a container", "one that awaits it", "gone"])
async def test_what_is_another_by_the_time_it_is_to_go_stays(
    monkeypatch: pytest.MonkeyPatch, by_now: str
) -> None:
    listed = [ListedImage(id, [f"app:{id[7]}"]) for id in IDS]
    before = stock_of(listed, [])
    users = {
        "a container": [MadeOfImage("c", IDS[0], IDS[0])],
        "one that awaits it": [MadeOfImage("c", "sha256:of another", "app:a")],
    }.get(by_now, [])
    if by_now == "another name":
        listed[0] = ListedImage(IDS[0], ["app:a", "app:wanted"])
    after = stock_of(listed[1:] if by_now == "gone" else listed, users)
    taken: list[str] = []

    async def look(engine: Engine, started: dict[str, str]) -> Known:
        return Known(before, {id: Inspected(id) for id in IDS})

    async def take_stock(engine: Engine, *, started: dict[str, str]) -> Stock:
        return after

    async def take(engine: Engine, going: Going) -> None:
        taken.append(going.image.id)

    for each in (look, take_stock, take):
        monkeypatch.setattr(pruning, each.__name__, each)
    done = await pruning.prune(Lists("none://"), Rules(), 2e9, dry=False)
    assert taken == [row.id for row in done.images] == IDS[1:]
    assert (done.count, done.kept.used) == (2, 0 if by_now == "gone" else 1)
