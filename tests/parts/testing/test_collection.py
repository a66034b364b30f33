"""Whichever process collects the tests, and whenever: they are called the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_another_process_calls_the_tests_of_this_run_the_same(
    request: pytest.FixtureRequest,
) -> None:
    """Otherwise processes that run the tests side by side disagree on which there are.

    It is what parameters made of the time, of chance or of a set's order come to.
    """
    own = {item.nodeid for item in request.session.items}
    files = sorted({nodeid.partition("::")[0] for nodeid in own})
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert own <= set(run.stdout.splitlines()), run.stdout[-2000:] + run.stderr
