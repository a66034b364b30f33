"""How the agent of a machine that comes in is started: by its unit, where there is one."""

from pathlib import Path

import pytest

from tests.system.joining.conftest import Fleet
from tests.testing.command import CommandLine


@pytest.fixture
def machine(tmp_path: Path) -> CommandLine:
    """The command line of a machine whose systemd has the agent's unit."""
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    # The agent that it starts needs the lock, and an identity.
    systemctl.write_text(
        f"#!/bin/sh\necho $@ >> {tmp_path}/asked\ncd {tmp_path}/state\n"
        "test -e identity/node.json && flock --nonblock agent.lock true\n"
    )
    systemctl.chmod(0o755)
    return CommandLine(tmp_path / "state", {"PATH": f"{systemctl.parent}:/usr/bin:/bin"})


def test_the_unit_of_the_machine_is_enabled_once_it_has_come_in(
    fleet: Fleet, machine: CommandLine, tmp_path: Path
) -> None:
    done = machine("agent", "join", *fleet.invite(), "--hostname", "unit-01")
    assert (done.status, "towline-agent.service" in done.stdout) == (0, True), done
    assert len((tmp_path / "asked").read_text().splitlines()) == 2
    assert "Start its agent" not in done.stdout


def test_an_agent_with_a_state_directory_of_its_own_is_not_the_unit_s(
    fleet: Fleet, machine: CommandLine, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    done = machine("agent", "join", *fleet.invite(), "--hostname", "unit-02", "--state", own)
    assert done.stdout.endswith(f"Start its agent: towline agent --state {own}\n"), done
    assert not (tmp_path / "asked").exists()
