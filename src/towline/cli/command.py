"""What all commands have in common: how options are read, and what an interrupt does."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from towline.cli.terminal import printable
from towline.errors import InvalidConfiguration, TowlineError, did_you_mean

CONTEXT = "towline.context"
"""What `meta` of click's context has under this: the name of the context whose token was sent."""
PATHS = ("FILE", "DIR")
"""What the help calls the values of options that name a file or a directory."""


class _Once(click.Command):
    """Refuses an option that is given twice where only one value counts."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each with its environment variable and its default."""
        records = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                records.append((record[0], self._explained(parameter, record[1])))
        with formatter.section("Options"):
            formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def _explained(self, option: click.Option, text: str) -> str:
        # The list of all commands is shown without knowing any setting.
        if not any(str(each.name).startswith(("config_", "connection_")) for each in self.params):
            return text
        from towline.cli import settings

        return settings.explained(self, option, text)

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
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            _check_text(parameter, ctx.params.get(parameter.name or ""), ctx)
        return rest


def _check_text(parameter: click.Parameter, value: Any, ctx: click.Context) -> None:
    """Refuse bytes that are no text in this locale, unless they name a file, which may be any."""
    if isinstance(value, list | tuple):
        for each in value:
            _check_text(parameter, each, ctx)
    elif isinstance(value, str) and parameter.metavar not in PATHS and not _is_text(value):
        raise click.BadParameter(
            f"'{printable(value)}' has bytes that are no {sys.getfilesystemencoding().upper()}.",
            ctx,
            parameter,
        )


def _is_text(value: str) -> bool:
    # Python keeps bytes that it can't decode as lone surrogates (PEP 383).
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


class Command(_Once):
    """A command that refuses an option given twice where only one value counts."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; ^C ends it with the exit status that shells have for that.

        Raises:
            TowlineError: in the words of commands, as `spoken` has them.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            from towline.cli.interrupt import status_of

            sys.exit(status_of(interrupt))
        except TowlineError as error:
            from towline.cli import spoken

            # What is wrong with a setting is said in the words of the file that has it.
            if not isinstance(error, InvalidConfiguration):
                spoken.translate(error, self)
            raise


def _takes_one(option: click.Option) -> bool:
    return not (option.multiple or option.is_flag or option.count)


class Choice(click.Choice[str]):
    """A choice among texts, which asks whether the nearest was meant."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return what is wrong with a value that is none of them."""
        said = super().get_invalid_choice_message(value, ctx)
        return f"{said} {did_you_mean(str(value), map(str, self.choices))}".rstrip()


OTHERS_WORDS = {
    **{"cordon": "node drain", "uncordon": "node undrain", "ps": "docker list"},
    **{"stop": "job cancel", "kill": "job cancel", "rm": "job delete", "logs": "job show"},
    **{"describe": "node show", "get": "node list", "status": "health", "info": "health"},
    **{"server": "controller", "secret": "registry set"},
}
"""What other tools call what is a command of this name here."""
ALIKE = (
    ("remove", "delete", "rm", "del", "destroy"),
    ("list", "ls"),
    ("show", "describe", "status", "get", "inspect"),
)
"""Words for the same thing, of which a group has one: within it no other thing is meant, least of
all where something is to be removed."""
DECLARES = {"create", "add", "new", "put", "update", "edit"}
"""How other tools make what `ensure` declares."""
MOST_PLACES = 3
"""Places in which a command stands that is asked for by its last word, up to which they are meant
before a word that only looks like it."""


class Group(_Once, click.Group):
    """A group that refuses the same, and whose commands are `Command`s."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments begin with, and what follows its name.

        Raises:
            UsageError: there is none of that name; the text has those that may have been meant.
        """
        name = args[0]
        if name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        known = set(self.words(ctx))
        alike = next((set(words) & known for words in ALIKE if name in words), set())
        if alike and ctx.parent is not None:
            meant = f"Did you mean {' or '.join(sorted(alike))}?"
        else:
            places = _places(ctx, name) if ctx.parent is None else []
            exact = _in_words(ctx, places) if len(places) <= MOST_PLACES else ""
            meant = exact or did_you_mean(name, known) or _elsewhere(ctx, name)
        raise click.UsageError(f"No such command {name!r}. {meant}".rstrip(), ctx)

    def words(self, ctx: click.Context) -> Iterable[str]:
        """Return what may be typed in this place, short forms of commands included."""
        return self.list_commands(ctx)


def _elsewhere(ctx: click.Context, name: str) -> str:
    """Return the question whether a command was meant that stands in another place."""
    if ctx.command.name == "set" and name in DECLARES:
        return _in_words(ctx, ["ensure"])
    found = _places(ctx, name)
    if not found and name in OTHERS_WORDS:
        found = [OTHERS_WORDS[name]]
    return _in_words(ctx, found)


def _places(ctx: click.Context, name: str) -> list[str]:
    return [" ".join(words) for words in _all_commands(ctx.find_root()) if words[-1] == name]


def _in_words(ctx: click.Context, found: list[str]) -> str:
    commands = [f"{ctx.find_root().info_name} {words}" for words in found]
    return f"Did you mean {' or '.join(commands)}?" if commands else ""


def _all_commands(root: click.Context) -> Iterator[list[str]]:
    """Yield the words of each command of the first two levels that the help shows."""
    group = root.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(root):
        _, found, _ = group.resolve_command(root, [name])
        if found is None or found.hidden:
            continue
        yield [name]
        if isinstance(found, click.Group):
            for below in found.list_commands(root):
                each = found.get_command(root, below)
                if each is not None and not each.hidden:
                    yield [name, below]


class CommandGroup(Command, Group):
    """A command that does something by itself, and has further commands below it."""
