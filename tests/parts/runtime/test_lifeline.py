"""A program on a lifeline, as a process with a parent that ends in many ways."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.testing.process import Process, wait_until
from tests.testing.up import command_of
from towline.runtime.lifeline import with_lifeline

PARENT = """
import os, signal, subprocess, sys
from towline.runtime.lifeline import with_lifeline
child = subprocess.Popen(with_lifeline("/bin/sleep", "600"), start_new_session=True)
print(child.pid, flush=True)
exec(sys.argv[1])
child.wait()
"""


@pytest.mark.parametrize(
    "ends",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGHUP)",
        "os._exit(3)",
        "sys.exit()",
        "raise RuntimeError",
    ],
)
def test_the_program_ends_however_its_parent_ends(ends: str, tmp_path: Path) -> None:
    with Process("parent", [sys.executable, "-c", PARENT, ends], logs=tmp_path) as parent:
        parent.wait()
        wait_until(lambda: not parent.survivors(), what="the end of the program")


def test_the_program_runs_as_long_as_its_parent_and_is_itself(tmp_path: Path) -> None:
    with Process("parent", [sys.executable, "-c", PARENT, ""], logs=tmp_path) as parent:
        child = int(parent.wait_for_output(r"(\d+)\n")[1])
        wait_until(lambda: command_of(child) == ["/bin/sleep", "600"])
        assert parent.running
        os.kill(child, signal.SIGTERM)
        assert parent.wait() == 0


def test_without_its_parent_the_program_is_not_begun(tmp_path: Path) -> None:
    command = with_lifeline("/bin/echo", "begun")
    # Here a shell is the parent, and not this process.
    with Process("late", ["/bin/sh", "-c", '"$@"; exit $?', "sh", *command], logs=tmp_path) as late:
        assert late.wait() == 1
    assert late.stdout == ""
    assert "has ended" in late.stderr


def test_a_program_that_cannot_be_run_is_named_with_the_reason(tmp_path: Path) -> None:
    absent = [sys.executable, "-c", PARENT.replace("/bin/sleep", "/bin/absent"), ""]
    with Process("parent", absent, logs=tmp_path) as parent:
        assert parent.wait() == 0
    assert parent.stderr == "/bin/absent: No such file or directory\n"
