"""In which form a command prints: what `-o`, `-q` and `--no-trunc` say."""

from __future__ import annotations

import os
import sys
from typing import Literal, get_args

import msgspec

Output = Literal["table", "wide", "json", "yaml", "name"]
OUTPUTS: tuple[str, ...] = get_args(Output)
NARROWEST = 20
"""Columns: a terminal that says it has fewer is not believed."""


class Form(msgspec.Struct, frozen=True):
    """In which form something is printed.

    Attributes:
        output: a table for people, the same with all columns and with moments in full, JSON or
            YAML for programs, or names and ids alone, one a line.
        whole: whether ids and digests are printed in full, and nothing is cut or left out.
        all_nodes: whether each node of a job has a row, however many there are.
    """

    output: Output = "table"
    whole: bool = False
    all_nodes: bool = False

    @property
    def for_people(self) -> bool:
        """Whether people read it: a table, with what belongs around it."""
        return self.output in ("table", "wide")

    @property
    def document(self) -> bool:
        """Whether it is one document for programs, JSON or YAML."""
        return self.output in ("json", "yaml")

    @property
    def width(self) -> int | None:
        """How many columns a table may take; None for as many as it needs."""
        return None if self.whole or self.output == "wide" else columns_of_stdout()


def columns_of_stdout() -> int | None:
    """Return how many columns standard output has, None where it is no terminal.

    `COLUMNS` says it where that is set, as for other programs.
    """
    if not sys.stdout.isatty():
        return None
    told = os.environ.get("COLUMNS", "")
    try:
        columns = int(told) if told else os.get_terminal_size(sys.stdout.fileno()).columns
    except (ValueError, OSError):
        return None
    # 0 is what terminals say that don't know it, such as those of some containers.
    return None if columns < 1 else max(NARROWEST, columns)
