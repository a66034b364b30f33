"""The engines that tests start are what tests take them for."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.testing.engine import Engine, EngineKind, running_engines
from tests.testing.engine_api import pull_errors
from tests.testing.registry import PushedImage, Registry


def test_an_engine_pulls_what_was_pushed_and_knows_it_by_the_digest(
    engine: Engine, image: PushedImage
) -> None:
    progress = engine.pull(image.reference)

    assert not pull_errors(progress)
    assert f"Digest: {image.digest}" in [message.get("status") for message in progress]
    found = engine.image(image.reference)
    assert found is not None
    store = {EngineKind.CLASSIC: image.config_digest, EngineKind.CONTAINERD: image.digest}
    assert found["Id"] == store[engine.kind]
    assert found["RepoDigests"] == [image.by_digest]
    engine.remove_image(image.reference)
    assert engine.image(image.reference) is None


def test_each_kind_of_engine_is_the_version_that_it_stands_for(engine: Engine) -> None:
    major = int(engine.version()["Version"].partition(".")[0])
    assert major >= 29 if engine.kind is EngineKind.CONTAINERD else major >= 20


def test_engines_side_by_side_share_no_images(
    engines: Sequence[Engine], image: PushedImage
) -> None:
    engines[0].pull(image.reference)
    assert engines[0].image(image.reference)
    assert engines[1].image(image.reference) is None


def test_an_engine_keeps_its_images_over_a_restart_and_a_kill(engine_kind: EngineKind) -> None:
    with Registry() as registry, running_engines(engine_kind, 1) as (engine,):
        image = registry.push_image("parts/kept", "1.0")
        assert not pull_errors(engine.pull(image.reference))
        engine.restart()
        assert engine.image(image.reference)
        engine.kill()
        assert not engine.reachable()
        engine.start()
        assert engine.image(image.reference)


def test_a_closed_engine_leaves_no_process_no_mount_and_no_file(engine_kind: EngineKind) -> None:
    with running_engines(engine_kind, 1) as (engine,):
        engine.kill()
    assert not engine.directory.exists()
    assert str(engine.directory) not in Path("/proc/mounts").read_text()
    assert str(engine.directory).encode() not in b"".join(command_lines())


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue
