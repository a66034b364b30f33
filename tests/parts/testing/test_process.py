"""Processes that tests start are waited for, and leave nothing running."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.testing.process import Failed, Process


def test_a_process_is_waited_for_stopped_and_started_again(tmp_path: Path) -> None:
    with Process("sleeper", ["sh", "-c", "echo ready; exec sleep 600"], logs=tmp_path) as process:
        process.wait_for_output("^ready$")
        assert process.stop() == -signal.SIGTERM
        process.start()
        process.wait_for_output("^ready$")
    assert process.returncode == -signal.SIGTERM
    assert process.stdout == "ready\nready\n"


def test_a_process_that_ends_too_early_fails_with_its_log(tmp_path: Path) -> None:
    process = Process("liar", ["sh", "-c", "echo no luck >&2; exit 3"], logs=tmp_path)
    with pytest.raises(Failed, match=r"(?s)ended with 3 .*no luck"), process:
        process.wait_for_output("ready")


def test_closing_a_process_ends_children_that_left_its_session(tmp_path: Path) -> None:
    script = "import os, sys\nif os.fork() == 0: os.setsid()\nelse: print('ready', flush=True)\n"
    wait = "import time; time.sleep(600)"
    with Process("parent", [sys.executable, "-c", script + wait], logs=tmp_path) as process:
        process.wait_for_output("ready")
        process.kill()
        (orphan,) = process.survivors()
        os.kill(orphan, 0)
    assert process.survivors() == []
