"""When a pull is broken off so that what has arrived is kept."""

from towline.agent.docker.pull.checkpoints import (
    AGAIN_AFTER,
    FIRST_AFTER,
    LOST_EACH,
    WORTH,
    Checkpoints,
)
from towline.agent.docker.pull.layers import Layers

WORTHWHILE = WORTH * LOST_EACH
SIZE = 2 * WORTHWHILE


def fetch(layers: Layers, name: str, current: int, now: float, size: int = SIZE) -> None:
    detail = {"current": current, "total": size}
    layers.apply({"id": name, "status": "Downloading", "progressDetail": detail}, now)


def complete(layers: Layers, name: str, now: float) -> None:
    layers.apply({"id": name, "status": "Download complete"}, now)


def test_a_big_pull_is_broken_off_once_soon_after_its_first_bytes() -> None:
    layers, checkpoints = Layers(0.0), Checkpoints()
    assert not checkpoints.due(layers, 50.0)
    fetch(layers, "a", LOST_EACH, 50.0)
    assert not checkpoints.due(layers, 50.0)
    assert checkpoints.due(layers, 50.1 + FIRST_AFTER)
    checkpoints.taken(layers, 51.0)
    assert checkpoints.loose(layers) == 0
    fetch(layers, "a", 10 * LOST_EACH, 1000.0)
    assert not checkpoints.due(layers, 1000.0)


def test_a_small_pull_is_left_alone() -> None:
    layers, checkpoints = Layers(0.0), Checkpoints()
    for now in (0.0, 1.0, 100.0):
        fetch(layers, "a", LOST_EACH, now, size=WORTHWHILE)
        assert not checkpoints.due(layers, now)
    assert checkpoints.loose(layers) == LOST_EACH


def test_nor_is_one_that_has_almost_ended() -> None:
    layers, checkpoints = Layers(0.0), Checkpoints()
    for now in (0.0, 1.0):
        fetch(layers, "a", SIZE - LOST_EACH, now)
        assert not checkpoints.due(layers, now)


def test_nor_is_one_that_is_over_in_a_moment() -> None:
    layers, checkpoints = Layers(0.0), Checkpoints()
    fetch(layers, "a", 1, 0.0, size=1000 * LOST_EACH)
    assert not checkpoints.due(layers, 0.0)
    fetch(layers, "a", 600 * LOST_EACH, 1.0, size=1000 * LOST_EACH)
    assert not checkpoints.due(layers, 1.0)
    fetch(layers, "a", 601 * LOST_EACH, 10.0, size=1000 * LOST_EACH)
    assert checkpoints.due(layers, 10.0)


def test_a_layer_that_begins_later_is_kept_as_well_once_much_of_it_is_there() -> None:
    layers, checkpoints = Layers(0.0), Checkpoints()
    fetch(layers, "a", LOST_EACH, 0.0)
    checkpoints.taken(layers, 1.0)
    complete(layers, "a", 2.0)
    fetch(layers, "b", LOST_EACH, 3.0, size=4 * WORTHWHILE)
    assert not checkpoints.due(layers, 3.0)
    fetch(layers, "b", WORTHWHILE, 4.0, size=4 * WORTHWHILE)
    assert not checkpoints.due(layers, 4.0)
    assert checkpoints.due(layers, 1.0 + AGAIN_AFTER)
    assert checkpoints.loose(layers) == WORTHWHILE
    checkpoints.taken(layers, 1.0 + AGAIN_AFTER)
    assert not checkpoints.due(layers, 1000.0)
