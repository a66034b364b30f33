"""The command line. A command imports by itself what is slow to import."""

from __future__ import annotations

import sys

from towline.cli.commands import cli
from towline.errors import TowlineError


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. An error is printed to standard error, and the exit status is not 0.

    Args:
        arguments: what follows the program's name; None for the process's own.
    """
    try:
        cli(arguments, prog_name="towline")
    except TowlineError as error:
        print(f"towline: {error.error}", file=sys.stderr)
        if error.details not in error.error:
            print(f"  {error.details}", file=sys.stderr)
        if error.job_id:
            print(f"  towline job {error.job_id} shows more", file=sys.stderr)
        sys.exit(1)
