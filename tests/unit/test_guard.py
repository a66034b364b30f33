"""Tests of units start no part of the system, not even unintentionally."""

import asyncio
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "command",
    [
        ["nats-server", "--version"],
        ["setpriv", "--pdeathsig", "TERM", "--", "/usr/sbin/dockerd"],
        [sys.executable, "-m", "towline", "agent"],
    ],
    ids=["broker", "engine", "agent"],
)
def test_a_part_of_the_system_is_not_started(command: list[str]) -> None:
    with pytest.raises(AssertionError, match="a test of a unit starts"):
        subprocess.run(command, check=False)


async def test_nor_is_it_started_beside_an_event_loop() -> None:
    with pytest.raises(AssertionError, match="a test of a unit starts"):
        await asyncio.create_subprocess_exec("nats-server")


def test_other_programs_are_started() -> None:
    done = subprocess.run([sys.executable, "-c", "print('here')"], capture_output=True, check=True)
    assert done.stdout == b"here\n"
