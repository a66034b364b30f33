"""Runs of scripts/faults: parts that die and stall at random, under load."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("seconds", "seed"), [pytest.param(12, 7, marks=pytest.mark.smoke), (300, 8)]
)
def test_whatever_dies_each_job_ends_once_and_truly(seconds: int, seed: int) -> None:
    finds_nothing(seconds, seed)


@pytest.mark.parametrize(
    ("nodes", "seconds", "seed"),
    [pytest.param(30, 12, 7, marks=pytest.mark.smoke), (200, 300, 9)],
)
def test_whatever_dies_all_nodes_have_what_their_sets_want(
    nodes: int, seconds: int, seed: int
) -> None:
    finds_nothing(seconds, seed, "--sets", str(nodes))


def finds_nothing(seconds: int, seed: int, *more: str) -> None:
    """Run it, and expect that nothing is amiss."""
    given = ["--seconds", str(seconds), "--seed", str(seed), *more]
    run = subprocess.run(
        [sys.executable, "scripts/faults.py", *given],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds + 300,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "nothing is amiss" in run.stdout
