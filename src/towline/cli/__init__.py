"""The command line. What is slow to import is imported by the command that needs it."""

from __future__ import annotations

import sys

from towline.cli.commands import cli
from towline.errors import TowlineError


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors go to standard error, and the exit status says so.

    Args:
        arguments: what follows the program's name; None for the process's own.
    """
    try:
        cli(arguments, prog_name="towline")
    except TowlineError as error:
        print(f"towline: {error.error}", file=sys.stderr)
        if error.details:
            print(f"  {error.details}", file=sys.stderr)
        if error.job_id:
            print(f"  towline job {error.job_id} tells more", file=sys.stderr)
        sys.exit(1)
