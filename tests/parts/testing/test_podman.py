"""The Podman that tests start is what tests take it for."""

from pathlib import Path

from tests.testing.engine_api import pull_errors
from tests.testing.podman import Podman
from tests.testing.registry import PushedImage


def test_podman_pulls_what_was_pushed_and_knows_it_by_the_digest(
    podman: Podman, image: PushedImage
) -> None:
    assert not pull_errors(podman.pull(image.reference))
    found = podman.image(image.reference)
    assert found is not None
    assert found["Id"] == image.config_digest
    assert found["RepoDigests"] == [image.by_digest]
    podman.remove_image(image.reference)
    assert podman.image(image.reference) is None


def test_podman_says_of_itself_what_it_is(podman: Podman) -> None:
    assert podman.version()["Components"][0]["Name"] == "Podman Engine"


def test_a_closed_podman_leaves_no_mount_and_no_file(image: PushedImage) -> None:
    with Podman() as podman:
        assert not pull_errors(podman.pull(image.reference))
        podman.stop()
        podman.start()
        assert podman.image(image.reference)
    assert not podman.directory.exists()
    assert str(podman.directory) not in Path("/proc/mounts").read_text()
