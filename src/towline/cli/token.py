"""The commands about tokens: make one, and read one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from typing import Any

import click

from towline.cli import local
from towline.cli.command import Group
from towline.cli.connection import duration
from towline.cli.options import config_option, state_option
from towline.cli.output import print_json
from towline.errors import InvalidConfiguration
from towline.operation import catalog
from towline.runtime import config

SEVERAL = "It may be given several times."


@click.group(cls=Group)
def token() -> None:
    """Make tokens, and read them."""


@token.command("create")
@click.option(
    "--subject", required=True, metavar="NAME", help="The name of whoever will use the token."
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    help=f"A role: admin, write, read, or one that is configured. {SEVERAL}",
)
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    help="A permission, in place of those of the roles; docker:write@group:web is narrowed to "
    f"some nodes. {SEVERAL}",
)
@click.option(
    "--expires",
    default="90d",
    show_default=True,
    metavar="DURATION",
    help="How long the token is valid.",
)
@click.option("--token-key", metavar="FILE", help="The key that signs tokens.")
@state_option
@config_option
def create_token(
    subject: str,
    roles: tuple[str, ...],
    permissions: tuple[str, ...],
    expires: str,
    config_file: str | None,
    **flags: Any,
) -> None:
    """Print a new token, and nothing else."""
    from towline import operations
    from towline.controller import auth
    from towline.endpoints import offered

    settings = config.load(config_file, **flags)
    lifetime = duration(expires)
    _check("role", roles, auth.ROLES.keys() | settings.roles.keys())
    if permissions:
        operations.load_extra(settings.operations)
        asked = {each.permission for each in (*offered, *catalog) if each.permission is not None}
        granted = {permission for role in settings.roles.values() for permission in role}
        try:
            auth.narrowed(permissions)
        except ValueError as error:
            raise InvalidConfiguration.because("A permission is not valid", error) from error
        plain = [each.partition("@")[0] for each in permissions]
        _check("permission", plain, asked | {each.partition("@")[0] for each in granted})
    print(
        auth.create_token(
            local.signing_key(settings),
            subject=subject,
            roles=list(roles),
            permissions=list(permissions) or None,
            lifetime=lifetime,
        )
    )


def _check(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            raise InvalidConfiguration(
                f"There is no {kind} {name!r}.", f"There are: {', '.join(sorted(known))}"
            )


@token.command("show")
@click.argument("text", metavar="[TOKEN]", default="-")
def show_token(text: str) -> None:
    """Print what a token says, without checking its signature.

    The token is read from standard input where it is not given.
    """
    import jwt

    from towline.units import timestamp

    text = (sys.stdin.read() if text == "-" else text).strip()
    try:
        claims = jwt.decode(text, options={"verify_signature": False})
    except jwt.InvalidTokenError as error:
        raise InvalidConfiguration("This is not a token.", str(error)) from error
    for name in ("iat", "exp"):
        if isinstance(claims.get(name), int):
            # A time past all calendars stays the number that it is.
            with contextlib.suppress(OverflowError, ValueError, OSError):
                claims[name] = timestamp(claims[name])
    print_json(claims)


COMMANDS = (token,)
