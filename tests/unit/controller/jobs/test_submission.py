"""What makes two requests the same, for an `Idempotency-Key`."""

from typing import Any

import msgspec
import pytest

from towline.controller.jobs.submission import Submission
from towline.controller.permissions import Bounds
from towline.operations import docker
from towline.wire.credential import Credential
from towline.wire.rollout import Waves
from towline.wire.target import parse_target

ALL = Bounds("ann", "docker:write", None)
REQUEST = Submission(docker.pull, {"image": "a:1"}, parse_target("_all"), "ann", ALL)


@pytest.mark.parametrize(
    "other",
    [
        {"parameters": {"image": "a:2"}},
        {"target": parse_target("web-01")},
        {"operation": docker.list_containers},
        {"expires": 60.0},
        {"waves": Waves(max_parallel="1")},
        {"retries": "0199aaaa-0000-7000-8000-000000000000"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_request_that_asks_for_something_else_is_another_one(other: dict[str, Any]) -> None:
    assert msgspec.structs.replace(REQUEST, **other).digest != REQUEST.digest


def test_retries_of_different_jobs_are_different_requests() -> None:
    retries = [msgspec.structs.replace(REQUEST, retries=job_id) for job_id in ("a", "b")]
    assert retries[0].digest != retries[1].digest


@pytest.mark.parametrize(
    "other",
    [
        {"trace": "00-1-1-00"},
        {"key": "another"},
        {"credential": Credential("ann", "secret")},
        # Which nodes of the job a retry is for may change while it goes on.
        {"only": frozenset({"a"})},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_says_nothing_of_what_is_asked_makes_no_other_request(other: dict[str, Any]) -> None:
    assert msgspec.structs.replace(REQUEST, **other).digest == REQUEST.digest
