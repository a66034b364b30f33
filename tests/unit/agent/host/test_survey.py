"""The survey delays nobody, and ends by nothing that a look comes upon."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from tests.testing.doubles import until
from towline.agent.host.facts import Disk, Gathered
from towline.agent.host.survey import Survey
from towline.wire.facts import Facts

HERE = Gathered(Facts(kernel="6.1", fqdn="web-01.example.org"), fullest=Disk("/", 50.0))


class Machine:
    """A machine that is looked at.

    Attributes:
        found: what a look finds, or comes upon.
        open: looks take until it is set.
        changes: how often the facts have changed.
    """

    def __init__(self) -> None:
        self.found: Gathered | Exception = HERE
        self.open = threading.Event()
        self.open.set()
        self.looks = 0
        self.changes = 0
        self.survey = Survey(self.gather, self.changed, look_every=0.01, look_within=0.05)

    def gather(self) -> Gathered:
        self.looks += 1
        self.open.wait()
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def changed(self) -> None:
        self.changes += 1


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    machine = Machine()
    yield machine
    machine.open.set()


@contextlib.asynccontextmanager
async def running(survey: Survey) -> AsyncIterator[None]:
    task = asyncio.create_task(survey.run())
    try:
        yield
        assert not task.done(), "it has ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_has_changed_is_noticed_and_only_that(machine: Machine) -> None:
    assert machine.survey.facts == Facts()
    await machine.survey.look()
    assert (machine.survey.seen, machine.changes) == (HERE, 1)
    async with running(machine.survey):
        await until(lambda: machine.looks > 3)
        assert machine.changes == 1
        machine.found = Gathered(HERE.facts, fullest=Disk("/", 51.0))
        await until(lambda: machine.survey.seen == machine.found)
        assert machine.changes == 1
        machine.found = Gathered(Facts(kernel="6.2", fqdn="web-01.example.org"))
        await until(lambda: machine.changes == 2)
    assert machine.survey.seen == machine.found


async def test_a_look_that_takes_long_delays_nobody_and_counts_when_it_is_there(
    machine: Machine,
) -> None:
    machine.open.clear()
    with capture_logs() as logs:
        async with asyncio.timeout(10):
            await machine.survey.look()
            await machine.survey.look()
    assert {each["event"] for each in logs} == {"the machine's facts take long"}
    assert (machine.survey.facts, machine.looks) == (Facts(), 1)
    machine.open.set()
    await until(lambda: machine.changes == 1)
    assert machine.survey.facts == HERE.facts


async def test_a_look_that_breaks_off_is_logged_and_the_next_one_counts(machine: Machine) -> None:
    machine.found = RuntimeError("odd")
    with capture_logs() as logs:
        async with running(machine.survey):
            await until(lambda: machine.looks > 2)
            machine.found = HERE
            await until(lambda: machine.changes == 1)
    assert {(each["log_level"], str(each["exc_info"])) for each in logs} == {("error", "odd")}


async def test_a_file_of_facts_that_cannot_be_read_is_logged_once(machine: Machine) -> None:
    machine.found = Gathered(HERE.facts, {"/etc/a.json": "no JSON"})
    with capture_logs() as logs:
        for _ in range(3):
            await machine.survey.look()
        machine.found = Gathered(HERE.facts, {"/etc/a.json": "too large"})
        await machine.survey.look()
    assert [(each["file"], each["reason"]) for each in logs] == [
        ("/etc/a.json", "no JSON"),
        ("/etc/a.json", "too large"),
    ]


async def test_a_name_server_that_is_away_changes_no_name(machine: Machine) -> None:
    machine.found = Gathered(Facts(kernel="6.1"))
    await machine.survey.look()
    assert machine.survey.facts.fqdn == socket.gethostname()
    machine.found = HERE
    await machine.survey.look()
    assert machine.survey.facts.fqdn == "web-01.example.org"
    machine.found = Gathered(Facts(kernel="6.1"))
    await machine.survey.look()
    assert machine.survey.facts == HERE.facts
    assert machine.changes == 2


def test_an_agent_that_ends_does_not_wait_for_a_look() -> None:
    machine = Machine()
    machine.open.clear()
    asyncio.run(machine.survey.look())
    # Whoever has waited for the thread would never have come here: it goes on.
    assert any(thread.name == "survey" for thread in threading.enumerate())
    machine.open.set()
    for thread in threading.enumerate():
        if thread.name == "survey":
            thread.join()
