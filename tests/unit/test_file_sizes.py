"""No file holds two ideas: past some 400 lines there is a seam."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_OF_SOURCE, MOST_OF_TESTS = 450, 500

EXCEPTIONS: set[str] = set()
"""Files that are too long for now."""


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_is_too_long() -> None:
    most = {"src": MOST_OF_SOURCE, "scripts": MOST_OF_SOURCE, "tests": MOST_OF_TESTS}
    found = {
        str(path.relative_to(ROOT))
        for folder, count in most.items()
        for path in (ROOT / folder).rglob("*.py")
        if lines(path) > count
    }
    assert sorted(found - EXCEPTIONS) == []
    assert sorted(EXCEPTIONS - found) == [], "no exceptions any more"
