"""Requests with a key: which job they are answered with, before anything is planned."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from tests.testing.jobs import a_job
from towline.controller.fleet import Fleet
from towline.controller.jobs.state import JobState
from towline.controller.jobs.submission import Submission
from towline.controller.jobs.submit import Submitter
from towline.controller.permissions import Bounds
from towline.errors import Conflict
from towline.operations import docker
from towline.wire.event import Event
from towline.wire.job import first_id
from towline.wire.target import parse_target

OLD = first_id(1.7e9)
"""An id that would make no job any more: its time is long ago."""


class Bucket:
    """What a key stands for, each time that it is looked up."""

    def __init__(self, *finds: str | None) -> None:
        self._finds = list(finds)

    async def find(self, caller: str, key: str, request: str) -> str | None:
        return self._finds.pop(0)


class Known:
    """One job that is there, of this id."""

    def __init__(self) -> None:
        self.state = JobState(msgspec.structs.replace(a_job(machines="ab"), id=OLD))

    async def find(self, job_id: str, *, wait: float = 0.0) -> tuple[JobState, list[Event]] | None:
        return (self.state, []) if job_id == OLD else None

    def check(self, state: JobState, bounds: Bounds) -> None:
        pass

    def submitter(self, *finds: str | None) -> Submitter:
        """Return what makes jobs, of a fleet without nodes."""
        lookup, keys, none = cast("Any", self), cast("Any", Bucket(*finds)), cast("Any", None)
        return Submitter(
            *(none, none, none, Fleet(), keys, none, none, lookup, none, none),
            expires=60.0,
            retention=60.0,
            settled=asyncio.Event(),
            check=none,
            ahead=none,
        )


def request(key: str) -> Submission:
    bounds = Bounds("ann", "docker:write", None)
    return Submission(docker.pull, {"image": "a:1"}, parse_target("_all"), "ann", bounds, key=key)


async def test_a_job_that_another_attempt_makes_meanwhile_is_the_key_s() -> None:
    known = Known()
    made = await known.submitter(None, OLD).submit(request(OLD.upper()), wait=0.0)
    assert made is known.state
    assert (await known.submitter(None, OLD).foresee(request(OLD)))[2] == OLD


async def test_an_id_of_a_job_that_was_made_without_the_key_is_refused() -> None:
    submitter = Known().submitter(*[None] * 4)
    for asking in (submitter.submit(request(OLD), wait=0.0), submitter.foresee(request(OLD))):
        with pytest.raises(Conflict, match="is the id of a job that was made already"):
            await asking


@pytest.mark.parametrize("key", [OLD, "plain"])
async def test_of_a_job_that_a_key_has_made_nothing_is_planned_anew(key: str) -> None:
    known = Known()
    job, nodes, made = await known.submitter(OLD).foresee(request(key))
    assert (job, made) == (known.state.job, OLD)
    assert [node.machine for node in nodes] == ["a", "b"]
