"""Requests that meet another attempt, a node that has just gone, a controller that knows nobody."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import towline.operations  # noqa: F401
from tests.testing.broker import Broker
from tests.testing.signing import SIGNER
from towline.broker.connection import Connection
from towline.broker.journal import Journal, Retention
from towline.broker.settings import Settings
from towline.controller.controller import Controller
from towline.controller.jobs.index import Index
from towline.controller.jobs.submission import Submission
from towline.controller.jobs.submit import FILLED_FOR, NOTHING, Submitter
from towline.controller.options import Options
from towline.controller.permissions import Bounds, parse_grant
from towline.controller.token_keys import TokenKeys
from towline.errors import BrokerUnreachable, Forbidden, InvalidRequest
from towline.operation import catalog
from towline.runtime.keys import KEY_BYTES, Vault
from towline.wire.job import SOON, Job, PlannedNode
from towline.wire.node import Heartbeat, Registration
from towline.wire.rollout import Waves
from towline.wire.target import ALL, ANY

NODES = {"a": "one", "b": "two"}


class Overtaken(Journal):
    """A journal in which another attempt to make a job comes first, which picked the other node."""

    async def add_job(self, job: Job, *, timeout: float = 5.0) -> int:
        (picked,) = job.plan
        (other,) = NODES.keys() - {picked.machine}
        earlier = msgspec.structs.replace(job, plan=[PlannedNode(other, NODES[other])])
        await super().add_job(earlier, timeout=timeout)
        return await super().add_job(job, timeout=timeout)


@pytest.fixture
async def controller(own_broker: Broker, tmp_path: Path) -> AsyncIterator[Controller]:
    """A controller that two nodes seem to be at."""
    broker = Settings([own_broker.url], own_broker.logins.credentials)
    nodes = Settings([own_broker.url], own_broker.logins.nodes)
    options = Options(
        host="127.0.0.1",
        port=0,
        broker=broker,
        nodes=nodes,
        index=tmp_path / "index.sqlite",
        keys=TokenKeys([os.urandom(32)]),
        signer=SIGNER,
        vault=Vault([os.urandom(KEY_BYTES)], tmp_path / "key"),
        roles={},
        wait=10.0,
        longest_wait=60.0,
        expires=3600.0,
        retention=Retention(size=256 * 1024**2),
        heartbeat=1.0,
    )
    with Index(options.index) as index:
        async with Connection(broker, "journal") as one, Connection(nodes, "nodes") as two:
            controller = Controller(options, one, two, index)
            running = asyncio.create_task(controller.run())
            async with asyncio.timeout(60):
                await controller.ready()
            for machine, hostname in NODES.items():
                controller.fleet.register(Registration(machine, hostname, "0.2.0", 1.8e9, 1.8e9))
                beat = Heartbeat("0123456789abcdef", 600.0, capabilities={"docker": ""})
                assert controller.fleet.receive(machine, beat)
            yield controller
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


def submitter(
    controller: Controller,
    journal: Journal,
    settled: asyncio.Event,
    known: Mapping[str, Callable[[frozenset[str]], list[str]]] = NOTHING,
) -> Submitter:
    """Return what makes a controller's jobs in a journal of the test's."""
    return Submitter(
        *(journal, controller.index, controller.open, controller.fleet),
        *(controller.keys, controller.job_credentials, controller.waiting, controller.lookup),
        *(controller.runner, controller.reads),
        expires=3600.0,
        retention=86400.0,
        settled=settled,
        check=controller.registries.check_job,
        ahead=lambda job: contextlib.nullcontext(),
        known=known,
        settled_within=0.05,
    )


def request(name: str, key: str | None = None, **parameters: Any) -> Submission:
    """Return a request for any node."""
    operation = catalog.get(name)
    assert operation is not None
    return Submission(operation, parameters, ANY, "ann", Bounds("ann", "any", None), key=key)


async def test_a_job_that_another_attempt_has_stored_first_is_answered_as_it_is_stored(
    controller: Controller,
) -> None:
    overtaken = submitter(controller, Overtaken(controller.jetstream), controller.presence.settled)
    state = await overtaken.submit(request("docker.pull.execute", key="k", image="app:1"), wait=0.0)
    stored = controller.index.find(state.job.id)
    assert stored is not None
    assert state.tasks.keys() == stored[0].tasks.keys()
    (known,) = [job for job in controller.open if job.job.id == state.job.id]
    assert known.tasks.keys() == stored[0].tasks.keys()


async def test_a_job_that_a_wider_token_of_the_caller_has_stored_first_is_no_answer(
    controller: Controller,
) -> None:
    overtaken = submitter(controller, Overtaken(controller.jetstream), controller.presence.settled)
    narrow = Bounds("ann", "docker:write", [parse_grant("docker:write@one")])
    asked = request("docker.pull.execute", key="k", image="app:1")
    with pytest.raises(Forbidden, match="two is outside"):
        await overtaken.submit(msgspec.structs.replace(asked, bounds=narrow), wait=0.0)


async def test_a_read_for_a_node_that_has_just_gone_is_no_message_that_nobody_can_read(
    controller: Controller,
) -> None:
    state = await controller.submitter.submit(request("docker.list.get"), wait=0.5)
    assert {task.status for task in state.tasks.values()} == {"pending"}
    assert controller.reads.answers.unreadable == 0


async def test_a_request_waits_not_for_ever_for_a_controller_to_know_who_is_here(
    controller: Controller,
) -> None:
    early = submitter(controller, controller.journal, asyncio.Event())
    with pytest.raises(BrokerUnreachable, match="does not know yet which nodes are here"):
        await early.submit(request("docker.pull.execute", image="app:1"), wait=0.0)


async def test_nodes_are_given_what_the_controller_knows_beside_what_was_asked(
    controller: Controller,
) -> None:
    wanted = ["docker.io/library/b:1"]
    making = submitter(
        *(controller, controller.journal, controller.presence.settled),
        {"wanted": lambda machines: wanted},
    )
    asked = request("image.prune.execute", key="k", protect=["a:1"])
    job, _, _ = await making.foresee(asked)
    assert job.parameters == {"protect": ["a:1", "docker.io/library/b:1"]}
    state = await making.submit(asked, wait=0.0)
    assert state.job.parameters == job.parameters
    # The same request is the same, whatever is known by then.
    wanted.append("docker.io/library/c:1")
    again = await making.submit(asked, wait=0.0)
    assert (again.job.id, again.job.parameters) == (state.job.id, job.parameters)


async def test_by_what_is_known_now_nodes_do_not_begin_hours_later(controller: Controller) -> None:
    making = submitter(controller, controller.journal, controller.presence.settled)
    asked = request("image.prune.execute")
    usual, _, _ = await making.foresee(asked)
    assert usual.expires - usual.created == SOON
    in_waves, _, _ = await making.foresee(
        msgspec.structs.replace(asked, target=ALL, waves=Waves(canary="1"))
    )
    assert in_waves.expires - in_waves.created == FILLED_FOR
    late = msgspec.structs.replace(asked, expires=FILLED_FOR + 1)
    with pytest.raises(InvalidRequest, match="when the job is made") as refused:
        await making.foresee(late)
    assert f"at most {FILLED_FOR:g} s" in refused.value.details


async def test_what_is_not_known_yet_is_not_taken_for_nothing(controller: Controller) -> None:
    controller.images.sets.known.clear()
    with pytest.raises(BrokerUnreachable, match="which images sets want: try again"):
        await controller.submitter.submit(request("image.prune.execute"), wait=0.0)
