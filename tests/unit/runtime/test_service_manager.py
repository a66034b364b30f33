"""Units that a command has started: with a systemctl of the test's own."""

from pathlib import Path

import pytest

from towline.errors import TowlineError
from towline.runtime.service_manager import AGENT_UNIT, enable


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def write_systemctl(path: Path, script: str) -> None:
    found = path / "systemctl"
    found.write_text(f"#!/bin/sh\necho $@ >> {path}/asked\n{script}\n")
    found.chmod(0o755)


def asked(path: Path) -> list[str]:
    return (path / "asked").read_text().splitlines()


def test_a_unit_that_is_there_is_enabled_and_started_and_nobody_waits_for_it(path: Path) -> None:
    write_systemctl(path, "echo '[Unit]'; echo Created symlink >&2")
    assert enable(AGENT_UNIT)
    assert asked(path) == [
        "cat towline-agent.service",
        "enable --now --no-block towline-agent.service",
    ]


def test_where_there_is_no_unit_nothing_is_enabled(path: Path) -> None:
    write_systemctl(path, "echo 'No files found for towline-agent.service.' >&2; exit 1")
    assert not enable(AGENT_UNIT)
    assert asked(path) == ["cat towline-agent.service"]


def test_where_there_is_no_systemd_there_is_no_unit(path: Path) -> None:
    assert not enable(AGENT_UNIT)


def test_what_systemd_refuses_is_said_in_its_words(path: Path) -> None:
    write_systemctl(path, "[ $1 = cat ] || { echo Unit file is masked. >&2; exit 1; }")
    with pytest.raises(TowlineError, match="masked") as refused:
        enable(AGENT_UNIT)
    assert "systemctl enable --now towline-agent.service" in refused.value.details


def test_a_systemctl_that_can_t_be_run_is_an_error(path: Path) -> None:
    write_systemctl(path, "")
    (path / "systemctl").write_bytes(b"\0")
    with pytest.raises(TowlineError, match="can't be asked"):
        enable(AGENT_UNIT)
