"""Brokers of Towline's own."""

from collections.abc import Iterator

import pytest

from tests.testing.own_broker import OwnBroker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    """One broker, encrypted, with a login for each node."""
    with OwnBroker(tmp_path_factory.mktemp("own")) as broker:
        yield broker
