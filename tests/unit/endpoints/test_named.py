"""A filter that names an operation names one that there is."""

import pytest

from towline.endpoint import endpoints
from towline.endpoints.fields import named
from towline.errors import InvalidRequest
from towline.operation import catalog
from towline.operations import docker  # noqa: F401

KNOWN = (*catalog, *endpoints)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (None, None),
        ("docker.pull", "docker.pull.execute"),
        ("docker.pull.execute", "docker.pull.execute"),
        ("agent.drain", "agent.drain"),
        ("of.another", "of.another"),
    ],
)
def test_it_is_named_by_its_name_or_its_label(name: str | None, found: str | None) -> None:
    assert named(name, KNOWN, {"of.another"}.__contains__) == found


def test_one_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidRequest, match=r"Did you mean docker\.pull") as refused:
        named("docker.pul", KNOWN, lambda name: 0)
    assert "agent.drain, " in refused.value.details
