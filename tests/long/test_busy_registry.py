"""What Podman says of a registry that is busy, after it has asked for minutes by itself."""

import pytest

from tests.parts.agent.docker.pull.test_odd_answers import CASES, LIMITED, PODMAN, Case, check
from tests.testing.podman import Podman
from tests.testing.proxy import FaultyProxy
from tests.testing.registry import Registry

BUSY = [case for case in (*CASES, *LIMITED) if case.status == 429]


@pytest.mark.parametrize("case", BUSY, ids=str)
async def test_a_registry_that_is_busy_is_told_as_that(
    case: Case, podman: Podman, registry: Registry
) -> None:
    with FaultyProxy.before_registry(registry) as between:
        await check(case, PODMAN, podman, registry, between)
