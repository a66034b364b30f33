"""The command line. A command imports by itself what is slow to import."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
"""The exit status of a command that ^C has ended before it did anything."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    An error is printed to standard error, and ends with the status that `towline.cli.outcome` has
    for it. So does ^C, also while modules are imported.

    Args:
        arguments: what follows the program's name; None for the process's own.
    """
    try:
        _main(arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _main(arguments: list[str] | None) -> None:
    shell = os.environ.get("_TOWLINE_COMPLETE")
    if shell:
        from towline.cli import completing

        completing.answer(shell, sys.argv[1:] if arguments is None else arguments)
        return
    import click

    from towline.cli.commands import cli
    from towline.cli.standard import open_streams
    from towline.errors import TowlineError

    open_streams()
    try:
        status = cli(arguments, prog_name="towline", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        # ^C outside of a command, or at a question.
        sys.exit(INTERRUPTED)
    except TowlineError as error:
        from towline.cli import outcome

        outcome.report(error)
        sys.exit(outcome.of_error(error))
    # An exit that was asked for, as by --help, is returned as its status.
    sys.exit(status if isinstance(status, int) else 0)
