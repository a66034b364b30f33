"""The core knows nothing of any provider: Docker is one among others."""

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "towline"
WORDS = re.compile(r"\b(images?|layers?|registry|registries|resolvers?|docker)\b", re.IGNORECASE)
NAMED_BY_THE_API = re.compile(r'"layers"|`layers`')
"""What the API's JSON has always called the parts of a task."""
ABOUT_IMAGES = tuple(
    f"wire/{name}.py" for name in ("reference", "platform", "credential", "cooldown", "inventory")
)
"""The words that both sides have for images and their registries: no rule of the core's."""


@pytest.mark.parametrize("room", ["wire", "controller/jobs", "controller/rollout", "agent"])
def test_the_core_has_no_word_for_what_one_provider_brings(room: str) -> None:
    found = []
    for path in sorted((SOURCE / room).rglob("*")):
        name = path.relative_to(SOURCE).as_posix()
        if path.suffix not in (".py", ".sql") or name in ABOUT_IMAGES:
            continue
        if name.startswith("agent/docker/"):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if WORDS.search(NAMED_BY_THE_API.sub("", line)):
                found.append(f"{name}:{number}: {line.strip()}")
    assert found == []
