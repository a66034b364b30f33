"""What README.md and the scripts install is all locked, and so is what builds it."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILD, RUN, DEVELOP = "requirements-build.lock", "requirements.lock", "requirements-dev.lock"


def names(requirements: list[str]) -> set[str]:
    """Return the normalized names of packages that are required."""
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def locked(lock: str) -> dict[str, str]:
    """Return what a lock says of each package."""
    entries = re.split(r"(?m)^(?=[a-z0-9])", (ROOT / lock).read_text())
    return {entry.partition("==")[0]: entry for entry in entries if entry}


@pytest.mark.parametrize("lock", [BUILD, RUN, DEVELOP])
def test_a_lock_has_a_hash_for_every_package_and_names_no_host(lock: str) -> None:
    for name, entry in locked(lock).items():
        assert "--hash=sha256:" in entry, name
        assert "://" not in entry, name


def test_the_locks_have_all_that_the_project_needs_and_is_built_with() -> None:
    assert names(PROJECT["project"]["dependencies"]) <= locked(RUN).keys()
    assert names(PROJECT["build-system"]["requires"]) <= locked(BUILD).keys()


def test_all_locks_have_the_same_versions() -> None:
    def versions(lock: str) -> set[tuple[str, str]]:
        return {(name, entry.split()[0]) for name, entry in locked(lock).items()}

    assert versions(BUILD) | versions(RUN) <= versions(DEVELOP)


@pytest.mark.parametrize("path", ["README.md", "scripts/setup.sh"])
def test_nothing_is_built_with_what_is_not_locked(path: str) -> None:
    """Where pip may make an environment for a build, it fetches what it likes into that."""
    lines = [
        line.strip()
        for line in (ROOT / path).read_text().splitlines()
        if re.match(r"\s*(\S*/pip install|\"\$\{install\[@\]\}\") ", line)
    ]
    assert len(lines) == 3
    for line in lines:
        assert "--no-build-isolation" in line or "--only-binary :all:" in line
        assert "--require-hashes -" in line or "--no-deps" in line
