"""The two clocks of a pull."""

from typing import Any

from towline.agent.docker.pull import stall
from towline.agent.docker.pull.layers import Layers

TIMEOUT = 5.0


def message(status: str, layer: str = "a", current: int = 0, **detail: Any) -> dict[str, Any]:
    return {"id": layer, "status": status, "progressDetail": {"current": current, **detail}}


def left(layers: Layers, now: float) -> float:
    return stall.left(layers, TIMEOUT, now)


def test_an_engine_that_says_nothing_has_stalled_when_the_time_is_up() -> None:
    layers = Layers(100.0)
    assert left(layers, 100.0) == 5.0
    assert left(layers, 105.0) == 0.0
    assert stall.words(layers, TIMEOUT) == "stalled: no byte has arrived for 5 s"


def test_each_byte_gives_more_time_and_the_same_message_again_gives_none() -> None:
    layers = Layers(0.0)
    layers.apply(message("Downloading", current=10, total=100), 4.0)
    assert left(layers, 4.0) == 5.0
    for now in (5.0, 6.0, 7.0):
        layers.apply(message("Downloading", current=10, total=100), now)
    assert left(layers, 9.0) == 0.0
    layers.apply(message("Downloading", current=11, total=100), 8.0)
    assert left(layers, 9.0) == 4.0


def test_what_waits_for_its_turn_holds_no_clock_up() -> None:
    layers = Layers(0.0)
    layers.apply(message("Downloading", "a", current=10, total=100), 0.0)
    layers.apply(message("Waiting", "b"), 4.0)
    assert left(layers, 5.0) == 0.0


def test_unpacking_has_ten_times_as_long() -> None:
    layers = Layers(0.0)
    layers.apply(message("Downloading", current=10, total=100), 1.0)
    layers.apply(message("Download complete"), 2.0)
    assert left(layers, 2.0) == 50.0
    layers.apply(message("Extracting", current=10, total=100), 20.0)
    assert left(layers, 20.0) == 50.0
    assert stall.words(layers, TIMEOUT) == "stalled: nothing has been unpacked for 50 s"


def test_seconds_that_an_engine_counts_while_it_unpacks_are_no_step() -> None:
    layers = Layers(0.0)
    layers.apply(message("Download complete"), 1.0)
    for second in range(1, 40):
        layers.apply(message("Extracting", current=second, units="s"), 1.0 + second)
    assert left(layers, 52.0) == 0.0


def test_one_layer_that_is_unpacked_does_not_excuse_another_that_does_not_arrive() -> None:
    layers = Layers(0.0)
    layers.apply(message("Downloading", "b", current=1, total=100), 1.0)
    layers.apply(message("Download complete", "a"), 1.0)
    layers.apply(message("Extracting", "a", current=50, total=100), 5.9)
    assert left(layers, 6.0) == 0.0
