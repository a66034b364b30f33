"""What the parts that run on this machine keep in their state directory, for commands run there."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from towline.errors import InvalidConfiguration
from towline.runtime.config import Settings

TOKEN_LIFETIME = 3600.0
"""Seconds: a token that a command makes for itself outlives the longest wait of a request."""


def directory(settings: Settings) -> Path:
    """Return the state directory: the one that is named, else the platform's usual place."""
    from towline.runtime import state_directory

    return Path(settings.state) if settings.state else state_directory.default_directory()


def url(settings: Settings) -> str:
    """Return where the controller of `towline up` answers on this machine.

    Raises:
        InvalidConfiguration: none runs here, or this user can't read where.
    """
    from towline.runtime import state_directory

    try:
        return (directory(settings) / state_directory.URL).read_text().strip()
    except OSError as error:
        raise InvalidConfiguration(
            "No controller is named, and none runs here.",
            f"Give --url, set TOWLINE_URL, or start towline up ({error})",
        ) from error


def signing_key(settings: Settings) -> bytes:
    """Return the key that signs tokens: of the file that is named, else the state directory's.

    Raises:
        InvalidConfiguration: there is none, or it can't be read. It is a controller's to make one:
            no controller would accept a token that was signed with another.
    """
    from towline.controller import auth
    from towline.runtime import state_directory

    if settings.token_key is not None:
        return auth.load_key(Path(settings.token_key), create=False)
    place = directory(settings)
    try:
        return auth.load_key(place / state_directory.TOKEN_KEY, create=False)
    except InvalidConfiguration as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise InvalidConfiguration(
            f"No controller has its key in the state directory {str(place)!r}.",
            "A controller makes one when it first starts. Name the controller's directory with "
            "--state, or its key with --token-key",
        ) from error


def token(settings: Settings) -> str:
    """Return a token for this user, with the role admin, for an hour.

    Raises:
        InvalidConfiguration: there is no key to sign it with.
    """
    from towline.controller import auth

    try:
        key = signing_key(settings)
    except InvalidConfiguration as error:
        raise InvalidConfiguration(
            "There is no token, and no key to make one with.",
            f"Give --token, or set TOWLINE_TOKEN. {error.error} {error.details}",
        ) from error
    return auth.create_token(
        key, subject=f"local:{_person()}", roles=["admin"], lifetime=TOKEN_LIFETIME
    )


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have them
        return str(os.getuid())
