"""What the command line says of itself."""

from __future__ import annotations

import importlib
import pkgutil
import re

import click

import towline.cli
from tests.unit.cli.conftest import Here
from tests.unit.cli.test_usage import every_command
from towline.cli.commands import cli
from towline.cli.generated import commands_made


def test_each_command_has_its_help(towline: Here) -> None:
    commands = [words for words, _ in every_command()]
    assert ["docker", "pull"] in commands
    assert ["token", "create"] in commands
    for words in commands:
        done = towline(*words, "--help")
        assert (done.status, done.stderr) == (0, ""), words
        assert done.stdout.startswith(" ".join(["Usage: towline", *words]))
        described = done.stdout.partition("\n\n")[2].lstrip()
        assert re.match(r"[A-Z][^\n]+", described), words


def test_the_list_of_commands_says_of_each_what_it_says_of_itself(towline: Here) -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        _, command, _ = cli.resolve_command(context, [name])
        listed = cli.get_command(context, name)
        assert command is not None
        assert listed is not None
        assert listed.short_help == command.get_short_help_str(limit=1000), name
        assert f"  {name} " in towline("--help").stdout


def test_every_command_that_there_is_is_listed() -> None:
    by_hand = {
        str(command.name)
        for module in pkgutil.iter_modules(towline.cli.__path__, "towline.cli.")
        for command in getattr(importlib.import_module(module.name), "COMMANDS", ())
    }
    context = click.Context(cli)
    made = {words[0] for words, _ in commands_made(context)}
    assert set(cli.list_commands(context)) == by_hand | made


def test_the_help_of_an_option_says_what_it_means_and_what_holds_without_it(towline: Here) -> None:
    shown = " ".join(towline("pull", "--help").stdout.split())
    assert "--retries INTEGER How often a pull that failed is tried again" in shown
    assert "[default: 4]" in shown
    assert "[default: 5m]" in shown
    for words, command in every_command():
        for parameter in command.params:
            helped = not isinstance(parameter, click.Option) or parameter.help
            assert helped, f"{' '.join(words)}: {parameter.name} has no help"


def test_the_version_is_shown(towline: Here) -> None:
    done = towline("--version")
    assert (done.status, done.stderr) == (0, "")
    assert re.fullmatch(r"towline, version \d+\.\d+\.\d+\n", done.stdout)
