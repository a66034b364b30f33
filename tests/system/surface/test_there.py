"""Which operations of the surface are there, and under which paths."""

from typing import Any

import pytest

from tests.system.surface.facts import OPERATIONS
from tests.system.surface.requests import GOOD, split, unnamed
from tests.testing.answers import refused
from tests.testing.cluster import Cluster

THERE = 22
"""Whoever adds an operation, or takes one away, changes it."""


def test_what_is_there_is_known(api: dict[str, Any]) -> None:
    documented = {
        f"{method.upper()} {path}" for path, methods in api["paths"].items() for method in methods
    }
    there = documented & OPERATIONS.keys()
    missing = [operation for operation in OPERATIONS if operation not in there]
    print(f"{len(there)} of {len(OPERATIONS)} operations are there. These are not yet:")
    print(*missing, sep="\n")
    assert there == GOOD.keys()
    assert (len(there), len(OPERATIONS)) == (THERE, 118)


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize("operation", GOOD)
def test_it_answers_with_and_without_the_prefix(
    fleet: Cluster, operation: str, prefix: str
) -> None:
    fact = OPERATIONS[operation]
    answer = fleet.anyone.request(split(operation)[0], prefix + unnamed(operation))
    if fact.permission is None:
        assert answer.status_code in (fact.success.code, *fact.errors)
    else:
        refused(answer, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
