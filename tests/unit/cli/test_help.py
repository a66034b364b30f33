"""What the command line says of itself."""

from __future__ import annotations

import importlib
import pkgutil
import re

import click
import pytest

import towline.cli
from tests.testing.command import failed
from tests.unit.cli.conftest import Here
from tests.unit.cli.test_usage import every_command
from towline.cli import settings
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
        for module in pkgutil.walk_packages(towline.cli.__path__, "towline.cli.")
        for command in getattr(importlib.import_module(module.name), "COMMANDS", ())
    }
    context = click.Context(cli)
    made = {words[0] for words, _ in commands_made(context)}
    assert set(cli.list_commands(context)) == by_hand | made


def test_the_help_of_an_option_says_what_it_means_and_what_holds_without_it(towline: Here) -> None:
    shown = " ".join(towline("pull", "--help").stdout.split())
    assert "--retries NUMBER How often a pull that failed is tried again" in shown
    assert "[default: 4]" in shown
    assert "[default: 5m]" in shown
    for words, command in every_command():
        for parameter in command.params:
            helped = not isinstance(parameter, click.Option) or parameter.help
            assert helped, f"{' '.join(words)}: {parameter.name} has no help"


def shown_for(towline: Here, option: str, *words: str) -> str:
    """Return what the help of a command says of an option, on one line."""
    options = towline(*words, "--help").stdout.partition("\nOptions:\n")[2]
    (found,) = re.findall(
        rf"(?m)^  (?:-\w, )?{option}(?=[ ,])[^\n]*(?:\n {{5,}}\S[^\n]*)*", options
    )
    return " ".join(str(found).split())


@pytest.mark.parametrize(
    ("option", "words", "says"),
    [
        ("--listen", "controller", "[env var: TOWLINE_LISTEN; default: 127.0.0.1:8080]"),
        ("--max-pulls", "agent", "[env var: TOWLINE_MAX_PULLS; x>=1; default: 3]"),
        ("--label", "up", "[env var: TOWLINE_LABELS]"),
        ("--cluster", "broker", "[env var: TOWLINE_CLUSTER_LISTEN]"),
        ("--url", "pull", "[env var: TOWLINE_URL]"),
        ("--config", "node list", "[env var: TOWLINE_CONFIG]"),
        ("--config", "trust init", "[env var: TOWLINE_CONFIG]"),
        ("--limit", "job list", "[default: 20; 1<=x<=100]"),
        ("--stall-timeout", "pull", "--stall-timeout DURATION"),
    ],
)
def test_an_option_names_its_variable_and_its_default(
    towline: Here, option: str, words: str, says: str
) -> None:
    assert says in shown_for(towline, option, *words.split())


@pytest.mark.parametrize(
    ("option", "words"),
    [("--state", "docker list"), ("--expires", "token create"), ("--ca", "trust nats-conf")],
)
def test_an_option_that_is_called_as_a_setting_need_not_be_one(
    towline: Here, option: str, words: str
) -> None:
    assert "env var" not in shown_for(towline, option, *words.split())


def test_every_option_of_a_part_with_a_value_is_a_setting() -> None:
    parts = (["agent"], ["broker"], ["controller"], ["up"])
    for words, command in every_command():
        for option in command.params if words in parts else ():
            if isinstance(option, click.Option) and not option.is_flag:
                assert settings.variable(command, option), f"{words} {option.opts}"


def test_what_stands_for_a_value_says_what_it_is() -> None:
    for words, command in every_command():
        context = click.Context(command, info_name=" ".join(words))
        for option in command.params:
            record = option.get_help_record(context)
            kinds = {"TEXT", "INTEGER", "FLOAT", "BOOLEAN", "RANGE", "FILENAME"}
            assert record is None or not kinds & {*record[0].split()}, (words, record)


def test_the_help_speaks_of_options_and_not_of_fields(towline: Here) -> None:
    for words, _ in every_command():
        shown = towline(*words, "--help").stdout
        assert "`" not in shown, words
        assert not re.search(r"\b(?:GET|POST|PUT|DELETE) /", shown), words


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("help", "--help"),
        ("help pull", "pull --help"),
        ("help node drain", "node drain --help"),
        ("help nodes", "node list --help"),
        ("version", "--version"),
    ],
)
def test_help_and_version_may_be_typed_as_commands(towline: Here, typed: str, same: str) -> None:
    assert towline(*typed.split()) == towline(*same.split())


def test_there_is_no_help_for_a_command_that_there_is_not(towline: Here) -> None:
    assert "Did you mean pull" in failed(towline("help", "pul"), 2)


def test_the_version_is_shown(towline: Here) -> None:
    done = towline("--version")
    assert (done.status, done.stderr) == (0, "")
    assert re.fullmatch(r"towline, version \d+\.\d+\.\d+\n", done.stdout)
