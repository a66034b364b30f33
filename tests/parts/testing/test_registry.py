"""The registries that tests start are what tests take them for."""

import httpx
import pytest

from tests.testing.engine import Engine
from tests.testing.engine_api import pull_errors
from tests.testing.registry import PASSWORD, USER, PushedImage, Registry


def test_an_image_for_another_platform_only_finds_no_match(
    engine: Engine, registry: Registry
) -> None:
    foreign = registry.push_image("parts/foreign", "1.0-s390x", architecture="s390x")
    registry.push_index("parts/foreign", "1.0", [foreign])
    (error,) = pull_errors(engine.pull(registry.reference("parts/foreign", "1.0")))
    assert "no match" in str(error)


def test_a_corrupt_layer_fails_its_digest(
    engine: Engine, registry: Registry, image: PushedImage
) -> None:
    registry.corrupt_blob(image.layer_digests[1])
    assert pull_errors(engine.pull(image.reference))
    assert engine.image(image.reference) is None


def test_a_registry_with_a_lock_wants_the_key(engine: Engine) -> None:
    with Registry(authenticated=True) as registry:
        image = registry.push_image("parts/locked", "1.0")
        manifest = f"{registry.url}/v2/parts/locked/manifests/1.0"
        assert httpx.get(manifest).status_code == 401
        assert httpx.get(manifest, auth=(USER, PASSWORD)).status_code == 200
        engine.pull(image.reference)
        assert engine.image(image.reference) is None


def test_a_registry_that_was_stopped_serves_again_what_it_had(registry: Registry) -> None:
    with Registry() as other:
        other.push_image("parts/back", "1.0")
        other.stop()
        with pytest.raises(httpx.ConnectError):
            httpx.get(other.url)
        other.start()
        assert httpx.get(f"{other.url}/v2/parts/back/manifests/1.0").is_success
