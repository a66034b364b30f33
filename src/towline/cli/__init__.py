"""The command line. A command imports by itself what is slow to import."""

from __future__ import annotations

import sys

from towline.cli.commands import cli
from towline.cli.standard import CannotPrint, open_streams
from towline.cli.terminal import say
from towline.errors import TowlineError


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. An error is printed to standard error, and the exit status is not 0.

    Args:
        arguments: what follows the program's name; None for the process's own.
    """
    open_streams()
    try:
        cli(arguments, prog_name="towline")
    except TowlineError as error:
        say(f"towline: {error.error}", error=True)
        if error.details not in error.error:
            say(*(f"  {line}" for line in error.details.splitlines()), error=True)
        if error.job_id:
            say(f"  towline job {error.job_id} shows more", error=True)
        sys.exit(2 if isinstance(error, CannotPrint) else 1)
