"""`towline trust`: what it makes and shows, and what is left of it when it is killed."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.testing.command import CommandLine, failed
from tests.testing.signing import OTHER_SEED
from towline.trust.job_keys import load_signer
from towline.trust.keys import CA_KEY, FILES, JOBS_KEY, NODES_SIGNING, ROOT, create, open_trust
from towline.trust.signing import kid_of

OFFLINE = [name for name in FILES if name.startswith("offline/")]


def modes(directory: Path) -> dict[str, int]:
    paths = [directory, *directory.rglob("*")]
    return {str(path.relative_to(directory)): path.stat().st_mode for path in paths}


def test_everything_is_made_and_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = CommandLine(tmp_path / "state")("trust", "init")
    finally:
        os.umask(before)
    assert made.status == 0
    for name in FILES:
        assert name in made.stdout
    found = modes(tmp_path / "state")
    assert {f"trust/{name}" for name in FILES} <= found.keys()
    for mode in found.values():
        assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600)


def test_a_second_time_changes_nothing_and_says_so(tmp_path: Path) -> None:
    towline = CommandLine(tmp_path)
    assert towline("trust", "init").status == 0
    before = {name: (tmp_path / "trust" / name).read_bytes() for name in FILES}
    said = failed(towline("trust", "init"))
    assert "already" in said
    assert str(tmp_path / "trust") in said
    assert {name: (tmp_path / "trust" / name).read_bytes() for name in FILES} == before


def test_status_shows_what_is_here_and_nothing_secret(tmp_path: Path) -> None:
    towline = CommandLine(tmp_path)
    trust = create(tmp_path)
    for name in OFFLINE:
        trust.path(name).rename(tmp_path / Path(name).name)
    shown, _, of_controller = towline("trust", "status").stdout.partition("\n\n")
    assert of_controller.startswith("No controller says which keys it has")
    lines = {line.split()[0]: line for line in shown.splitlines()[1:]}
    assert lines.keys() == FILES.keys()
    for name, line in lines.items():
        assert ("not on this machine" in line) == (name in OFFLINE)
    for name in FILES:
        if name.endswith((".seed", ".key", ".creds")) and name not in OFFLINE:
            for word in trust.read(name).split():
                assert len(word) < 30 or word not in shown


def test_status_names_what_is_open_to_others(tmp_path: Path) -> None:
    trust = create(tmp_path)
    trust.path("controller/nodes-signing.seed").chmod(0o644)
    shown = CommandLine(tmp_path)("trust", "status").stdout
    (line,) = [line for line in shown.splitlines() if "nodes-signing.seed" in line]
    assert "unusable" in line
    assert "chmod 600" in line


def test_status_shows_each_key_of_jobs_by_the_name_that_agents_give_it(tmp_path: Path) -> None:
    trust = create(tmp_path)
    path = trust.path(JOBS_KEY)
    path.write_text(path.read_text() + OTHER_SEED.hex() + "\n")
    shown = CommandLine(tmp_path)("trust", "status").stdout
    (line,) = [line for line in shown.splitlines() if JOBS_KEY in line]
    for key in load_signer(path, create=False).public:
        assert kid_of(key) in line


@pytest.mark.parametrize("name", [JOBS_KEY, CA_KEY, ROOT])
def test_status_names_what_holds_no_key(name: str, tmp_path: Path) -> None:
    create(tmp_path).path(name).write_text("nothing\n")
    shown = CommandLine(tmp_path)("trust", "status").stdout
    (line,) = [line for line in shown.splitlines() if line.split()[:1] == [name]]
    assert "unusable" in line


@pytest.mark.parametrize("command", [["status"], ["login", "m"]])
def test_where_there_is_none_it_is_said_how_to_make_one(command: list[str], tmp_path: Path) -> None:
    assert "towline trust init" in failed(CommandLine(tmp_path)("trust", *command))


@pytest.mark.parametrize("machine", ["", "a.b", "*", ">", "a b", "_all", "a" * 65, "{{name()}}"])
def test_no_login_is_made_for_what_is_no_machine_id(machine: str, tmp_path: Path) -> None:
    create(tmp_path)
    said = failed(CommandLine(tmp_path)("trust", "login", machine))
    assert "No login is made" in said


@pytest.mark.parametrize("expires", ["0", "0s", "0d", "0.5s", "", "-1"])
def test_no_login_is_made_that_ends_at_once_nor_one_for_good_in_its_place(
    expires: str, tmp_path: Path
) -> None:
    create(tmp_path)
    made = CommandLine(tmp_path)("trust", "login", "m", "--expires", expires)
    assert "No login is made" in failed(made)
    assert made.stdout == ""


def test_logins_are_made_without_what_is_offline(tmp_path: Path) -> None:
    trust = create(tmp_path)
    for name in OFFLINE:
        trust.path(name).unlink()
    made = CommandLine(tmp_path)("trust", "login", "m", "--expires", "3d")
    assert "BEGIN NATS USER JWT" in made.stdout
    trust.path(NODES_SIGNING).unlink()
    said = failed(CommandLine(tmp_path)("trust", "login", "m"))
    assert "is not on this machine" in said


_CREATE = """
import sys
from pathlib import Path
from towline.trust.keys import create
print("begun", flush=True)
create(Path(sys.argv[1]))
"""


MOMENTS = 16


def test_a_start_that_is_killed_at_any_moment_leaves_nothing_or_all(tmp_path: Path) -> None:
    """Whatever it leaves, the next one makes all."""
    took = 0.0
    for number in range(MOMENTS + 1):
        state = tmp_path / f"{number}"
        state.mkdir(mode=0o700)
        process = subprocess.Popen(
            [sys.executable, "-c", _CREATE, state], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        begun = time.monotonic()
        if number:
            # Moments all over the time that the first one took.
            time.sleep(took * number / MOMENTS)
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        took = took or time.monotonic() - begun
        if not complete(state):
            create(state)
        assert complete(state)
        assert not list(state.glob(".trust-*"))


def complete(state: Path) -> bool:
    """Return whether there is a trust directory. It is whole then, or this fails."""
    if not (state / "trust").exists():
        return False
    trust = open_trust(state)
    assert {name for name in FILES if trust.path(name).exists()} == FILES.keys()
    trust.accounts()
    assert trust.node_login("m")
    assert trust.authority.issue(["localhost"]).certificate
    return True
