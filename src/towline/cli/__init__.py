"""The command line. A command imports by itself what is slow to import."""

from __future__ import annotations

import os
import sys

from towline.cli.standard import open_streams
from towline.errors import TowlineError


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    An error is printed to standard error, and ends with the status that `towline.cli.outcome` has
    for it.

    Args:
        arguments: what follows the program's name; None for the process's own.
    """
    shell = os.environ.get("_TOWLINE_COMPLETE")
    if shell:
        from towline.cli import completing

        completing.answer(shell, sys.argv[1:] if arguments is None else arguments)
        return
    from towline.cli.commands import cli

    open_streams()
    try:
        cli(arguments, prog_name="towline")
    except TowlineError as error:
        from towline.cli import outcome

        outcome.report(error)
        sys.exit(outcome.of_error(error))
