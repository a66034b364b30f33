"""What README.md has people install is all locked, the build backend too."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def names(requirements: list[str]) -> set[str]:
    """Return the normalized names of packages that are required."""
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def locked(lock: str) -> dict[str, str]:
    """Return what a lock says of each package."""
    text = (ROOT / lock).read_text()
    return {
        entry.partition("==")[0]: entry for entry in re.split(r"(?m)^(?=[a-z0-9])", text) if entry
    }


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_has_all_that_the_project_is_built_with_and_needs(lock: str) -> None:
    needed = names(PROJECT["build-system"]["requires"]) | names(PROJECT["project"]["dependencies"])
    assert needed <= locked(lock).keys()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_has_a_hash_for_every_package_and_names_no_host(lock: str) -> None:
    for name, entry in locked(lock).items():
        assert "--hash=sha256:" in entry, name
        assert "://" not in entry, name


def test_both_locks_have_the_same_versions() -> None:
    def versions(lock: str) -> dict[str, str]:
        return {name: entry.split()[0] for name, entry in locked(lock).items()}

    assert versions("requirements.lock").items() <= versions("requirements-dev.lock").items()
