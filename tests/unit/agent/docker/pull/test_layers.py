"""Layers are folded from what the engine says; `pulls/` holds recorded streams of both kinds.

Each line is the seconds since the pull was asked for, and the message. Recorded from Engine
20.10.24 (classic) and 29.0.0 (containerd), a registry on loopback, and for the cuts a proxy.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from towline.agent.docker.pull.layers import Layers
from towline.wire.progress import DONE, DOWNLOADED, DOWNLOADING, EXTRACTING, PRESENT, WAITING, Part

ENGINES = ("classic", "containerd")
SIZES = [15004756, 15004753, 40012408, 15004763]
"""Of the layers of the image that is pulled afresh; the engine with containerd names them in
another order."""


def recorded(engine: str, name: str) -> list[tuple[float, dict[str, Any]]]:
    path = Path(__file__).parent / "streams" / f"{engine}-{name}.jsonl"
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


def folded(messages: list[tuple[float, dict[str, Any]]]) -> Layers:
    layers = Layers(0.0)
    for moment, message in messages:
        layers.apply(message, moment)
    return layers


def message(status: str, current: int | None = None, total: int | None = None) -> dict[str, Any]:
    detail = {} if current is None else {"current": current, "total": total}
    return {"status": status, "id": "1de5d1d5e9ce", "progressDetail": detail}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_whole_pull_ends_with_every_layer_done_and_every_byte_arrived(engine: str) -> None:
    layers = folded(recorded(engine, "fresh"))
    assert {layer.state for layer in layers.all()} == {DONE}
    assert sorted(layer.size for layer in layers.all()) == sorted(SIZES)
    assert layers.announced == layers.fetched == sum(SIZES)
    assert not layers.fetching


@pytest.mark.parametrize("engine", ENGINES)
def test_every_layer_goes_through_its_states_in_order(engine: str) -> None:
    order = [WAITING, DOWNLOADING, DOWNLOADED, EXTRACTING, DONE]
    layers, seen = Layers(0.0), dict[str, list[str]]()
    for moment, line in recorded(engine, "fresh"):
        layers.apply(line, moment)
        for layer in layers.all():
            states = seen.setdefault(layer.id, [])
            if layer.state not in states:
                states.append(layer.state)
    assert len(seen) == 4
    for states in seen.values():
        assert states == [state for state in order if state in states]
        assert (states[0], states[-1]) == (WAITING, DONE)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["fresh", "partly", "cut-several"])
def test_no_figure_is_larger_than_its_whole(engine: str, name: str) -> None:
    layers = Layers(0.0)
    for moment, line in recorded(engine, name):
        layers.apply(line, moment)
        for layer in layers.all():
            assert 0 <= layer.extracted <= layer.fetched
            assert not layer.size or layer.fetched <= layer.size
        assert 0 <= layers.gained <= layers.announced


def test_a_layer_is_named_with_its_bytes_while_it_arrives() -> None:
    messages = recorded("classic", "fresh")
    at = next(n for n, (_, line) in enumerate(messages) if "17697792" in json.dumps(line))
    found = {layer.id: layer for layer in folded(messages[: at + 1]).all()}
    assert found["41d3510cab7c"] == Part("41d3510cab7c", DOWNLOADING, 17697792, 40012408)


def test_the_classic_engine_shows_which_bytes_are_unpacked() -> None:
    messages = recorded("classic", "fresh")
    at = next(n for n, (_, line) in enumerate(messages) if "23003136" in json.dumps(line))
    found = {layer.id: layer for layer in folded(messages[: at + 1]).all()}
    expected = Part("41d3510cab7c", EXTRACTING, 40012408, 40012408, 23003136)
    assert found["41d3510cab7c"] == expected


def test_layers_that_were_there_are_distinguished() -> None:
    found = folded(recorded("classic", "partly")).all()
    assert [layer.state for layer in found] == [PRESENT, PRESENT, DONE, DONE]
    assert [layer.size for layer in found] == [0, 0, 9002964, 3175]


def test_an_image_that_is_there_has_no_layers() -> None:
    layers = folded(recorded("classic", "again"))
    assert layers.all() == []
    assert layers.fetching  # its silence is that of the network: nothing is unpacked


def test_seconds_of_unpacking_are_not_taken_for_bytes() -> None:
    for moment, line in recorded("containerd", "fresh"):
        layers = Layers(0.0)
        layers.apply(line, moment)
        assert all(layer.extracted == 0 for layer in layers.all() if layer.state == EXTRACTING)


def test_seconds_of_unpacking_are_no_step() -> None:
    layers = Layers(0.0)
    layers.apply(message("Downloading", 100, 100), 1.0)
    layers.apply(message("Download complete"), 2.0)
    for second in range(3, 9):
        line = message("Extracting") | {"progressDetail": {"current": second - 2, "units": "s"}}
        layers.apply(line, float(second))
    assert (layers.step_at, layers.fetching) == (3.0, False)
    layers.apply(message("Pull complete"), 9.0)
    assert layers.step_at == 9.0


def test_what_the_engine_had_to_fetch_again_is_only_what_was_missing() -> None:
    messages = recorded("classic", "cut-several")
    at = next(n for n, (_, line) in enumerate(messages) if "Retrying in 1 s" in json.dumps(line))
    waiting = folded(messages[: at + 1]).all()[-1]
    assert waiting == Part("628b853f656a", WAITING, 18891776, 60018498)
    # It goes on with 354,304 of the 33,064,770 bytes that were missing.
    going_on = folded(messages[: at + 2]).all()[-1]
    size = 60018498
    assert going_on == Part("628b853f656a", DOWNLOADING, size - 33064770 + 354304, size)


def test_bytes_that_a_broken_connection_is_said_to_have_brought_do_not_count() -> None:
    messages = recorded("classic", "cut")
    at = next(n for n, (_, line) in enumerate(messages) if "Retrying" in json.dumps(line))
    assert folded(messages[:at]).fetched == 200061209  # so the engine says
    layers = folded(messages[: at + 1])
    assert (layers.fetched, layers.gained) == (32835584, 32835584 - 545792)


def test_waiting_for_a_registry_is_silence() -> None:
    layers = folded(recorded("classic", "cut"))
    assert layers.byte_at == 0.264
    assert layers.fetching


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pull_that_was_cut_still_has_bytes_to_fetch(engine: str) -> None:
    layers = folded(recorded(engine, "cut-several"))
    assert layers.fetching
    assert sum(layer.state == DONE for layer in layers.all()) == 5


def test_the_same_bytes_reported_again_are_silence() -> None:
    layers = Layers(0.0)
    assert layers.apply(message("Downloading", 10, 100), 1.0)
    assert not layers.apply(message("Downloading", 10, 100), 2.0)
    assert layers.byte_at == 1.0
    assert layers.apply(message("Downloading", 11, 100), 3.0)
    assert layers.byte_at == 3.0


def test_what_was_there_when_a_layer_is_first_reported_was_not_gained() -> None:
    layers = Layers(0.0)
    layers.apply(message("Downloading", 60, 100), 1.0)
    assert layers.gained == 0
    layers.apply(message("Downloading", 70, 100), 1.1)
    layers.apply(message("Download complete"), 1.2)
    assert layers.gained == 40


def test_a_layer_whose_archive_is_there_is_unpacked_all_the_same() -> None:
    layers = Layers(0.0)
    layers.apply(message("Already exists"), 1.0)
    assert not layers.fetching
    layers.apply(message("Extracting") | {"progressDetail": {"current": 1, "units": "s"}}, 2.0)
    assert [layer.state for layer in layers.all()] == [EXTRACTING]
    layers.apply(message("Pull complete"), 3.0)
    assert layers.all() == [Part("1de5d1d5e9ce", DONE)]


@pytest.mark.parametrize(
    "line",
    [
        {"status": "Pulling from app", "id": "1"},
        {"status": "Digest: sha256:8edc"},
        {"status": "Something new", "id": "1de5d1d5e9ce"},
        {"error": "short read"},
        {"status": 7, "id": ["x"]},
        {},
    ],
)
def test_a_message_of_no_layer_changes_nothing(line: dict[str, Any]) -> None:
    layers = Layers(0.0)
    assert not layers.apply(line, 1.0)
    assert layers.all() == []


def test_a_size_that_is_not_reported_stays_unknown() -> None:
    layers = Layers(0.0)
    layers.apply(message("Downloading", 10, -1), 1.0)
    assert layers.all() == [Part("1de5d1d5e9ce", DOWNLOADING, 10, 0)]
    layers.apply(message("Download complete"), 2.0)
    assert layers.all() == [Part("1de5d1d5e9ce", DOWNLOADED, 10, 0)]
