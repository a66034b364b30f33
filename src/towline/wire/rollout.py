"""How the nodes of a job get their turns: the options of a request. Pure data."""

from __future__ import annotations

import re

import msgspec

from towline.wire.fields import Name

_SHARE = re.compile(r"([0-9]{1,9})(%?)")
MAX_PARALLEL = "max_parallel"
CANARY = "canary"
MAX_FAILURES = "max_failures"
OPTIONS = (MAX_PARALLEL, CANARY, MAX_FAILURES)


class Waves(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the nodes of a job get their turns, each a number or a percentage of them as text.

    Attributes:
        max_parallel: so many nodes at a time; None for all.
        canary: so many first, alone: the others wait until these have ended.
        max_failures: so many may fail; past it nodes that wait are cancelled.
    """

    max_parallel: Name | None = None
    canary: Name | None = None
    max_failures: Name | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` where one is no share, as `read_share`."""
        for name in OPTIONS:
            text = getattr(self, name)
            if text is not None:
                try:
                    read_share(name, text)
                except ValueError as error:
                    raise ValueError(f"`{name}`: {error}") from error

    @classmethod
    def of(cls, given: dict[str, str]) -> Waves | None:
        """Return the waves that options by name ask for, None where none is given.

        Raises:
            ValueError: one is not valid, or `max_failures` stands alone; the text says which.
        """
        if not given:
            return None
        waves = cls(**{name: text.strip() for name, text in given.items()})
        if given.keys() == {MAX_FAILURES}:
            raise ValueError(
                "`max_failures` says when nodes that wait are cancelled, and none would wait: "
                "give `max_parallel` or `canary` too"
            )
        return waves


def read_share(name: str, text: str) -> tuple[int, bool]:
    """Return the number that an option's text names, and whether it is a percentage.

    Raises:
        ValueError: it is neither; the text says what it may be, and names no option.
    """
    match = _SHARE.fullmatch(text.strip())
    least = 0 if name == MAX_FAILURES else 1
    if match is not None:
        number, percent = int(match[1]), bool(match[2])
        if least <= number and not (percent and number > 100):
            return number, percent
    raise ValueError(
        f"{text[:40]!r} is neither a number of nodes, {least} or more, "
        f"nor a percentage of them, {least}% to 100%"
    )
