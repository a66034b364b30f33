"""Passwords on the command line: read where nobody else can see them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from towline.errors import InvalidConfiguration

if TYPE_CHECKING:
    from towline.wire.credential import Credential


def read_secret(what: str) -> str:
    """Return a secret: typed by a person, who doesn't see it, or all of standard input.

    Never an argument or a variable, which other users of the machine, or other programs, can see.

    Raises:
        InvalidConfiguration: there is none, or it is no text.
    """
    if sys.stdin.isatty():
        secret = str(click.prompt(what, hide_input=True, err=True))
    else:
        try:
            # Whatever the locale is: it has to become JSON, which is UTF-8.
            secret = sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise InvalidConfiguration(
                f"What standard input has for a {what.lower()} is not UTF-8.", "Write it as text"
            ) from None
    if not secret:
        raise InvalidConfiguration(
            f"There is no {what.lower()}.", "Write it to standard input, or at the prompt"
        )
    return secret


def login_parameters() -> list[click.Option]:
    """Return the options by which one request brings its own credential."""
    return [
        click.Option(
            ["--registry-user"],
            metavar="NAME",
            help="Log in to the image's registry as NAME, by a password from standard input.",
        )
    ]


def with_login(command: Any) -> Any:
    """Add these options to a command that is yet a function."""
    for flag in login_parameters():
        command = click.option(*flag.opts, metavar=flag.metavar, help=flag.help)(command)
    return command


def take_login(values: dict[str, Any]) -> Credential | None:
    """Take what these options brought out of a command's values, and read the password."""
    from towline.wire.credential import Credential

    user = values.pop("registry_user", None)
    return None if user is None else Credential(user, read_secret("Password"))
