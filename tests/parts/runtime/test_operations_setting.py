"""Modules of operations that are not there."""

from pathlib import Path

import pytest

from tests.testing.process import TowlineProcess


@pytest.mark.parametrize("part", ["controller", "agent", "up"])
def test_a_part_that_cannot_import_it_says_so_and_does_not_start(tmp_path: Path, part: str) -> None:
    process = TowlineProcess(
        *(part, "--state", tmp_path / "state"),
        logs=tmp_path,
        env={"TOWLINE_OPERATIONS": "no_such_module"},
    )
    with process:
        assert process.wait() == 2
    assert "'no_such_module'" in process.stderr
    assert "Traceback" not in process.stderr
