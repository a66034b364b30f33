"""What a prune says of an engine that stops answering in the middle of it."""

from typing import Any

import pytest

from towline.agent.docker.answers import ListedImage
from towline.agent.docker.engine import Engine
from towline.agent.docker.errors import EngineRefused, EngineUnreachable
from towline.agent.docker.images import pruning
from towline.agent.docker.images.answers import Inspected
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

    async def look(engine: Engine) -> Known:
        return Known(stock, {id: Inspected(id) for id in IDS})

    async def take_stock(engine: Engine) -> Stock:
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
