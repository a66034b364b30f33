"""One engine, and images of two layers."""

from collections.abc import Iterator, Sequence

import pytest

from tests.testing.engine import Engine
from tests.testing.proxy import FaultyProxy
from tests.testing.registry import PushedImage, Registry, random_layer


@pytest.fixture
def engine(engines: Sequence[Engine]) -> Engine:
    """One of the shared engines of each kind."""
    return engines[0]


@pytest.fixture
def image(registry: Registry, request: pytest.FixtureRequest) -> PushedImage:
    """An image that no engine has seen: of two layers, one past any buffer's size."""
    name = request.node.name.lower().replace("[", "-").rstrip("]")
    layers = [random_layer(f"{name}-1"), random_layer(f"{name}-2", size=300_000)]
    return registry.push_image(f"parts/{name}", "1.0", layers)


@pytest.fixture
def proxy(registry: Registry) -> Iterator[FaultyProxy]:
    """What stands before the registry."""
    with FaultyProxy.before_registry(registry) as proxy:
        yield proxy
