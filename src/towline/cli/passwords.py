"""Passwords: read where no other user or program can see them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from towline.errors import InvalidConfiguration

if TYPE_CHECKING:
    from towline.wire.credential import Credential


def read_secret(what: str, *, twice: bool = False) -> str:
    """Return a secret that a person types unseen, or all of standard input.

    It is never an argument or a variable: other users and programs can see those.

    Args:
        what: what the prompt calls it, for example "Password".
        twice: whether a person has to type it twice, since what is typed wrong is found out later.

    Raises:
        InvalidConfiguration: it is empty, or not UTF-8.
    """
    if sys.stdin.isatty():
        secret = str(click.prompt(what, hide_input=True, err=True, confirmation_prompt=twice))
    else:
        try:
            # UTF-8 whatever the locale: the secret becomes JSON.
            secret = sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise InvalidConfiguration(
                f"The {what.lower()} on standard input is not UTF-8.", "Write it as text"
            ) from None
    if not secret:
        raise InvalidConfiguration(
            f"There is no {what.lower()}.", "Write it to standard input, or at the prompt"
        )
    return secret


def login_parameters() -> list[click.Option]:
    """Return the options by which a request brings a credential of its own."""
    return [
        click.Option(
            ["--registry-user"],
            metavar="NAME",
            help="Log in to the image's registry as this user; standard input has the password.",
        )
    ]


def with_login(command: Any) -> Any:
    """Add these options to a command."""
    for flag in login_parameters():
        command = click.option(*flag.opts, metavar=flag.metavar, help=flag.help)(command)
    return command


def take_login(values: dict[str, Any]) -> Credential | None:
    """Take the values of these options out of those of a command, and read the password."""
    from towline.wire.credential import Credential

    user = values.pop("registry_user", None)
    return None if user is None else Credential(user, read_secret("Password"))
