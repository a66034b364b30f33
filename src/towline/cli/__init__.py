"""The command line. A command imports by itself what is slow to import."""

from __future__ import annotations

from towline.cli.commands import cli
from towline.cli.standard import open_streams
from towline.errors import TowlineError


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    An error is printed to standard error, and ends with the status that `towline.cli.outcome` has
    for it.

    Args:
        arguments: what follows the program's name; None for the process's own.
    """
    open_streams()
    try:
        cli(arguments, prog_name="towline")
    except TowlineError as error:
        from towline.cli import outcome

        outcome.failed(error)
