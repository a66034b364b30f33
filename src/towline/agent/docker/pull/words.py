"""The table of words (`words.toml`): what is said of pulls that fail, and what it means."""

from __future__ import annotations

import enum
import re
from functools import cached_property
from importlib import resources

import msgspec

from towline.agent.docker.kind import Kind


class Speaker(enum.Enum):
    """Whose words they are."""

    REGISTRY = "the registry"
    STORE = "the engine's store"
    ENGINE = "the engine"
    WAY = "what lies between engine and registry"


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words as they appeared, with neutral names.

    Attributes:
        by: the engine that said or passed them on, with its version.
        source: for words that no test here provokes: where they are publicly reported.
    """

    by: str
    words: str
    source: str = ""


class Row(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """One thing that goes wrong, by the words in which it is told.

    Attributes:
        patterns: regular expressions, any of which is found in the words: in lower case, without
            what is quoted, without digests and names of the image (see `faults`).
        speaker: whose words they are. What a store says is never taken for the registry's.
        title: what it is, in a few words.
        said: examples.
        cause: why it happens.
        mend: what somebody can do, as a clause that stands in errors, too; "" for nothing special.
        attempts: how many may end so before a pull is given up, where that is not the kind's.
        gone: whether the registry doesn't have, or no more, what a digest names.
    """

    kind: Kind
    speaker: Speaker
    title: str
    patterns: tuple[str, ...]
    said: tuple[Said, ...]
    cause: str
    mend: str = ""
    attempts: int | None = None
    gone: bool = False

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(f"(?:{pattern})" for pattern in self.patterns))

    def matches(self, words: str) -> bool:
        """Return whether the words are this row's."""
        return self._pattern.search(words) is not None


TABLE: list[Row] = msgspec.toml.decode(
    resources.files(__package__).joinpath("words.toml").read_bytes(), type=dict[str, list[Row]]
)["row"]
"""The rows, in the order in which they are looked for."""
