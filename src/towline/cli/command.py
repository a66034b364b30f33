"""What all commands have in common: how options are read, and what an interrupt does."""

from __future__ import annotations

import sys
from typing import Any

import click

INTERRUPTED = 130
"""The exit status of a command that ^C has ended: 128 and the number of SIGINT, as in shells."""


class _Once(click.Command):
    """Refuses an option that is given twice where only one value counts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command's arguments; raises `UsageError`."""
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for parameter in order:
            if isinstance(parameter, click.Option) and _takes_one(parameter):
                given = order.count(parameter)
                if given > 1:
                    name = parameter.opts[0]
                    raise click.BadOptionUsage(
                        name, f"Option {name!r} takes one value, but is given {given} times.", ctx
                    )
        return super().parse_args(ctx, args)


class Command(_Once):
    """A command that refuses an option given twice where only one value counts."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; ^C ends it with the exit status that shells have for that."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


def _takes_one(option: click.Option) -> bool:
    return not (option.multiple or option.is_flag or option.count)


class Group(_Once, click.Group):
    """A group that refuses the same, and whose commands are `Command`s."""

    command_class = Command


class CommandGroup(Command, Group):
    """A command that does something by itself, and has further commands below it."""
