"""Options that several commands share."""

from __future__ import annotations

from typing import Any, TypedDict

import click

SHARE = "N|N%"

state_option = click.option("--state", metavar="DIR", help="The state directory.")
config_option = click.option(
    "--config", "config_file", metavar="FILE", help="The configuration file, TOML."
)
OUTPUT_FLAGS = ["-o", "--output"]
OUTPUT: dict[str, Any] = {
    "type": click.Choice(["table", "json"]),
    "default": "table",
    "show_default": True,
    "help": "What is printed: a table for people, or JSON for programs.",
}
output_option = click.option(*OUTPUT_FLAGS, **OUTPUT)


class JobOptions(TypedDict):
    """How a job is carried out, by the command line; None for what it doesn't say."""

    expires: str | None
    idempotency_key: str | None
    max_parallel: str | None
    canary: str | None
    max_failures: str | None


def job_option_parameters() -> list[click.Option]:
    """Return the options that say how a job is carried out."""
    options = (
        ("--expires", "DURATION", "Within how long each node must begin."),
        ("--idempotency-key", "KEY", "Make one job, however often this is sent."),
        ("--max-parallel", SHARE, "How many nodes run the job at a time."),
        ("--canary", SHARE, "How many nodes run the job first, alone."),
        (
            "--max-failures",
            SHARE,
            "How many nodes may fail; if more do, those that wait are cancelled.",
        ),
    )
    return [click.Option([flag], metavar=metavar, help=text) for flag, metavar, text in options]


def with_job_options(command: Any) -> Any:
    """Add the options that say how a job is carried out to a command."""
    for flag in reversed(job_option_parameters()):
        command = click.option(*flag.opts, metavar=flag.metavar, help=flag.help)(command)
    return command


def take_job_options(values: dict[str, Any]) -> JobOptions:
    """Take the values of these options out of those of a command."""
    return JobOptions(
        expires=values.pop("expires"),
        idempotency_key=values.pop("idempotency_key"),
        max_parallel=values.pop("max_parallel"),
        canary=values.pop("canary"),
        max_failures=values.pop("max_failures"),
    )
