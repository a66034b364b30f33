"""Options that several commands share."""

from __future__ import annotations

from typing import Any, TypedDict

import click

SHARE = "N|N%"

state_option = click.option("--state", metavar="DIR", help="The state directory.")
config_option = click.option("--config", "config_file", metavar="FILE", help="A TOML file.")


class JobOptions(TypedDict):
    """What the command line says of how a job is carried out; None for nothing."""

    expires: str | None
    idempotency_key: str | None
    max_parallel: str | None
    canary: str | None
    max_failures: str | None


def job_option_parameters() -> list[click.Option]:
    """Return the options that say how a job is carried out."""
    options = (
        ("--expires", "DURATION", "Within how long a node must begin."),
        ("--idempotency-key", "KEY", "Once, however often it is sent."),
        ("--max-parallel", SHARE, "So many nodes at a time."),
        ("--canary", SHARE, "So many nodes first, alone."),
        ("--max-failures", SHARE, "So many may fail; past it nodes that wait are cancelled."),
    )
    return [click.Option([flag], metavar=metavar, help=text) for flag, metavar, text in options]


def with_job_options(command: Any) -> Any:
    """Add these options to a command that is yet a function."""
    for flag in reversed(job_option_parameters()):
        command = click.option(*flag.opts, metavar=flag.metavar, help=flag.help)(command)
    return command


def take_job_options(values: dict[str, Any]) -> JobOptions:
    """Take what these options brought out of a command's values."""
    return JobOptions(
        expires=values.pop("expires"),
        idempotency_key=values.pop("idempotency_key"),
        max_parallel=values.pop("max_parallel"),
        canary=values.pop("canary"),
        max_failures=values.pop("max_failures"),
    )
