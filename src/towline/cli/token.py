"""The commands about tokens: make one, and read one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from towline.cli import local
from towline.cli.command import CONTEXT, Group
from towline.cli.connection import client_of, duration
from towline.cli.options import config_option, state_option
from towline.cli.output import print_json
from towline.cli.standard import CannotPrint
from towline.cli.terminal import say
from towline.errors import InvalidConfiguration, did_you_mean
from towline.operation import catalog
from towline.runtime import config
from towline.runtime.contexts import LOCAL

if TYPE_CHECKING:
    from towline.endpoints.tokens import NewToken
    from towline.errors import ApiError

UNAUTHORIZED = 401
SEVERAL = "It may be given several times."


@click.group(cls=Group)
def token() -> None:
    """Make tokens, list, show and revoke them."""


@token.command("create")
@click.option(
    "--subject", required=True, metavar="NAME", help="The name of whoever will use the token."
)
@click.option(
    "--role",
    "roles",
    metavar="ROLE",
    multiple=True,
    required=True,
    help=f"A role: admin, write, read, or one that is configured. {SEVERAL}",
)
@click.option(
    "--permission",
    "permissions",
    metavar="PERMISSION",
    multiple=True,
    help="A permission, in place of those of the roles; docker:write@group:web is narrowed to "
    f"some nodes. {SEVERAL}",
)
@click.option(
    "--expires",
    default="90d",
    show_default=True,
    metavar="DURATION",
    help="How long the token is valid, 365d at most.",
)
@click.option(
    "--token-key",
    metavar="FILE",
    help="The key to sign with, in place of asking the controller for a token.",
)
@click.option(
    "--url", metavar="URL", help="The controller to ask, in place of that of this machine."
)
@click.option("--token", metavar="TOKEN", help="The token to ask with, in place of one made here.")
@click.option(
    "--context", metavar="CONTEXT", help="The context of towline login whose controller is asked."
)
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
    """Print a new token, and nothing else.

    The controller is asked for it, which then lists it. Where none is named and none runs here, it
    is signed with the key in the state directory.
    """
    asks = flags["token_key"] is None
    # Whoever signs asks nobody, and needs no login.
    settings = (config.load_connection if asks else config.load)(config_file, **flags)
    lifetime = duration(expires)
    if asks:
        made = _asked_for(settings, subject, roles, permissions, expires)
        if made is not None:
            _print(made.token, made.id)
            return
    _print(*_signed(settings, subject, roles, permissions, lifetime))


def _print(token: str, id: str) -> None:
    """Print a token; raises `CannotPrint`, which says how to revoke what nobody has seen."""
    try:
        say(token)
    except CannotPrint as error:
        raise CannotPrint(
            error.error,
            f"The token was made, and nobody has it: towline token revoke {id} revokes it",
        ) from error


def _asked_for(
    settings: config.Settings,
    subject: str,
    roles: tuple[str, ...],
    permissions: tuple[str, ...],
    expires: str,
) -> NewToken | None:
    """Return a token that a controller has made; None where none is named and none is here."""
    from towline.endpoints import tokens
    from towline.errors import ApiError

    try:
        url = settings.url or local.url(settings)
    except InvalidConfiguration:
        return None
    with client_of(settings, url) as client:
        try:
            made = client.call(
                tokens.create,
                subject=subject,
                roles=list(roles),
                permissions=list(permissions) or None,
                expires=expires,
            )
        except ApiError as error:
            if error.status == UNAUTHORIZED and settings.token is not None:
                _name_the_key(error)
            if error.status or settings.url is not None:
                raise
            return None
    return made


def _name_the_key(error: ApiError) -> None:
    """Have a refusal of the token say how a token is made without one."""
    running = click.get_current_context()
    # It would name the way back in alone, which needs a token.
    context = running.meta.pop(CONTEXT, None)
    again = "" if context is None else f"Log in again: towline login --name {context}. "
    error.details = (
        f"{again}On the controller's own machine {running.command_path} --context {LOCAL} asks "
        "with the controller's key in place of a token"
    )


def _signed(
    settings: config.Settings,
    subject: str,
    roles: tuple[str, ...],
    permissions: tuple[str, ...],
    lifetime: float,
) -> tuple[str, str]:
    """Return a token that is signed here, of which no controller knows, and its id."""
    from towline import operations
    from towline.controller import auth
    from towline.controller.token_keys import new_token_id
    from towline.endpoints import offered

    keys = local.signing_keys(settings)
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
    made = new_token_id()
    token = keys.create(
        subject=subject,
        roles=roles,
        permissions=permissions or None,
        lifetime=lifetime,
        id=made,
    )
    say(
        f"Signed here: towline token list doesn't have it; towline token revoke {made} revokes it.",
        error=True,
    )
    return token, made


def _check(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            raise InvalidConfiguration(
                f"There is no {kind} {name!r}. {did_you_mean(name, known)}".rstrip(),
                f"There are: {', '.join(sorted(known))}",
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
