"""What commands refuse before they do anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.testing.command import failed
from tests.unit.cli.conftest import Here
from towline.cli.command import Command
from towline.cli.commands import cli


def every_command() -> Iterator[tuple[list[str], click.Command]]:
    def walk(command: click.Command, words: list[str]) -> Iterator[tuple[list[str], click.Command]]:
        yield words, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                _, below, _ = command.resolve_command(context, [name])
                assert below is not None
                yield from walk(below, [*words, name])

    return walk(cli, [])


def single_valued(command: click.Command) -> list[click.Option]:
    return [
        option
        for option in command.params
        if isinstance(option, click.Option)
        and not (option.is_flag or option.multiple or option.count or option.is_eager)
    ]


COMMANDS = {" ".join(words): command for words, command in every_command()}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["--nothing"],
        ["docker"],
        ["docker", "nothing"],
        ["pull"],
        ["pull", "nginx"],
        ["pull", "--on", "web-01"],
        ["docker", "list", "redis", "--on", "web-01"],
        ["pull", "nginx", "--on", "web-01", "--tag", "1.0"],
        ["pull", "nginx", "--on", "web-01", "-o", "xml"],
        ["docker", "list", "--on", "web-01", "--limit", "many"],
        ["docker", "list", "--on", "web-01", "--state", "lost"],
        ["nodes", "web-01"],
        ["job"],
        ["token"],
        ["token", "create", "--role", "read"],
        ["token", "create", "--subject", "alice"],
        ["up", "now"],
        ["agent", "web-01"],
    ],
    ids=" ".join,
)
def test_bad_usage_has_status_2(towline: Here, arguments: list[str]) -> None:
    assert failed(towline(*arguments), 2).startswith("Usage: towline")


def test_an_option_given_twice_is_refused_by_its_name(towline: Here) -> None:
    said = failed(towline("pull", "nginx", "--on", "a", "--wait", "1s", "--wait", "2s"), 2)
    assert "Error: Option '--wait' takes one value, but is given 2 times." in said


@pytest.mark.parametrize("words", ["docker pull", "node load", "job retry"])
@pytest.mark.parametrize(
    ("given", "target"),
    [
        ([], None),
        (["--on", "web-*"], "web-*"),
        (["--on", "a", "--on=_all,!b"], "a;_all,!b"),
        (["--on", ""], ""),
    ],
)
def test_several_targets_are_one_that_means_any_of_them(
    words: str, given: list[str], target: str | None
) -> None:
    command = COMMANDS[words]
    context = click.Context(command, resilient_parsing=True)
    command.parse_args(context, ["x", *given])
    assert context.params["on"] == target


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_that_takes_one_value_is_refused_when_it_is_given_twice(words: str) -> None:
    command = COMMANDS[words]
    for option in single_valued(command):
        with pytest.raises(click.UsageError, match="takes one value") as refused:
            command.make_context(words, [option.opts[0], "1", option.opts[-1], "1"])
        assert repr(option.opts[0]) in refused.value.message


@pytest.mark.parametrize(
    "arguments",
    [
        ("docker pull", "--wait", "a", "--registry-user", "b", "--wait", "c"),
        ("up", "--state", "a", "--state", "a"),
        ("node list", "--state", "a", "--state-dir", "b"),
        ("registry set", "-u", "a", "--username", "b"),
        ("job list", "-o", "json", "-o", "json"),
    ],
    ids=" ".join,
)
def test_it_does_not_matter_how_an_option_is_given_twice(arguments: tuple[str, ...]) -> None:
    words, *rest = arguments
    with pytest.raises(click.UsageError, match="takes one value"):
        COMMANDS[words].make_context(words, rest)


def test_labels_and_flags_may_repeat() -> None:
    COMMANDS["agent"].make_context("agent", ["--label", "a:b", "--label", "c:d"])
    COMMANDS["job list"].make_context("job list", ["--follow", "--follow"])


def test_an_interrupt_ends_a_command_with_130() -> None:
    def callback() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        Command("wait", callback=callback).main([])
    assert ended.value.code == 130


def test_an_interrupt_while_modules_are_imported_is_no_failure_of_theirs(
    towline: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "interrupted_operations.py").write_text("raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(tmp_path)
    done = towline("docker", "pull", "nginx", env={"TOWLINE_OPERATIONS": "interrupted_operations"})
    assert (done.status, done.stdout, done.stderr.strip()) == (130, "", "")
