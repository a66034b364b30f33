"""What is asked of somebody who typed a name that there is not."""

import click
import pytest

from tests.testing.command import failed
from tests.unit.cli.conftest import Here
from tests.unit.cli.test_usage import COMMANDS
from towline.cli.command import OTHERS_WORDS


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("pul", "pull"),
        ("dokcer pull", "docker"),
        ("docker pll", "pull"),
        ("node lst", "list"),
        ("token craete", "create"),
        ("node cancel", "towline job cancel"),
        ("canecl", "cancel"),
        ("nods", "nodes"),
        ("jobs canecl", "cancel"),
        ("docker revoke", "towline node revoke or towline token revoke?"),
        ("uncordon web-01", "towline node undrain"),
        ("ps", "towline docker list"),
        ("drift", "towline image drift?"),
        ("prune", "towline image prune?"),
        ("set delete web", "remove?"),
        ("set rm web", "remove?"),
        ("set status web", "show?"),
        ("set create web", "towline ensure?"),
        ("image rm nginx", "remove?"),
        ("image ls", "list?"),
        ("job remove 1", "delete?"),
    ],
)
def test_a_command_that_there_is_not_is_answered_with_the_nearest(
    towline: Here, arguments: str, meant: str
) -> None:
    said = failed(towline(*arguments.split()), 2)
    assert f"Did you mean {meant}" in said
    assert "No such command" in said


def test_what_looks_like_no_command_is_said_to_be_none(towline: Here) -> None:
    assert "Error: No such command 'zzzzz'.\n" in failed(towline("zzzzz"), 2)


def test_each_word_of_other_tools_means_a_command_that_there_is() -> None:
    for word, command in OTHERS_WORDS.items():
        assert command in COMMANDS
        assert word not in COMMANDS


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("pull nginx --on web-01 --polcy missing", "'--policy'"),
        ("pull nginx --on web-01 --policy mising", "missing?"),
        ("jobs --status faild", "failed?"),
    ],
)
def test_so_is_an_option_and_a_choice(towline: Here, arguments: str, meant: str) -> None:
    said = failed(towline(*arguments.split()), 2)
    assert "Did you mean" in said
    assert meant in said


def test_every_choice_asks_so() -> None:
    for words, command in COMMANDS.items():
        for parameter in command.params:
            if isinstance(parameter.type, click.Choice):
                nearly = f"{parameter.type.choices[0]}x"
                with pytest.raises(click.BadParameter, match="Did you mean"):
                    parameter.type.convert(
                        nearly, parameter, click.Context(command, info_name=words)
                    )
