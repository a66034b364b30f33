"""Nouns stand in the singular; their plurals and short forms mean the same commands."""

import click
import pytest

from tests.unit.cli.conftest import Here
from towline.cli.commands import LISTED, PLURALS, WORDS, cli, spelt_out

JOB = "01990000-0000-7000-8000-0123456789ab"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("nodes", "node list"),
        ("nodes -o json", "node list -o json"),
        ("nodes show web-01", "node show web-01"),
        ("jobs --follow", "job list --follow"),
        ("jobs cancel", "job cancel"),
        ("tokens", "token list"),
        ("registries", "registry list"),
        ("invites", "node invites"),
        ("drain web-01", "node drain web-01"),
        ("cancel --help", "job cancel --help"),
        ("pull nginx --on _all", "docker pull nginx --on _all"),
        (f"job {JOB}", f"job show {JOB}"),
        (f"job {JOB} --follow", f"job show {JOB} --follow"),
        (f"job -o json {JOB}", f"job show -o json {JOB}"),
        ("job 0123456789ab", "job show 0123456789ab"),
        ("jobs 0123456789ab", "job show 0123456789ab"),
        ("job", "job"),
        ("job --help", "job --help"),
        ("job shwo", "job shwo"),
        ("node", "node"),
        ("", ""),
    ],
)
def test_a_short_form_means_a_noun_and_a_verb(typed: str, meant: str) -> None:
    assert " ".join(spelt_out(typed.split())) == meant


@pytest.mark.parametrize("word", WORDS)
def test_every_short_form_has_a_command_that_calls_itself_by_its_whole_name(
    towline: Here, word: str
) -> None:
    shown = towline(word, "--help")
    assert (shown.status, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"Usage: towline {' '.join(WORDS[word])} ")


def test_no_short_form_takes_the_place_of_a_command() -> None:
    assert not WORDS.keys() & {each.name for each in LISTED}


def test_the_help_says_which_short_forms_there_are(towline: Here) -> None:
    commands, _, short = towline("--help").stdout.partition("Short forms:")
    assert {word.strip(",;") for word in short.split()} >= WORDS.keys() - {"pull"}
    assert "\n  pull " in commands


def test_a_plural_is_a_list_by_itself() -> None:
    context = click.Context(cli)
    for noun in PLURALS.values():
        _, group, _ = cli.resolve_command(context, [noun])
        assert isinstance(group, click.Group)
        assert "list" in group.list_commands(context)
