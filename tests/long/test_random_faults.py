"""A short run of scripts/faults: parts that die and stall at random, under load."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS, SEED = "12", "7"


def test_whatever_dies_each_job_ends_once_and_truly() -> None:
    command = [sys.executable, "scripts/faults.py", "--seconds", SECONDS, "--seed", SEED]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "nothing is amiss" in run.stdout
