"""What parts on this machine keep in their state directory, as far as commands use it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from towline.errors import InvalidConfiguration
from towline.runtime.config import Settings
from towline.units import parse_duration

if TYPE_CHECKING:
    import ssl

    from towline.controller.token_keys import ClientKey, TokenKeys

TOKEN_LIFETIME = 3600.0
"""Seconds that a token is valid which a command makes for itself."""


def directory(settings: Settings) -> Path:
    """Return the state directory: the one that is named, else the platform's own."""
    from towline.runtime import state_directory

    return Path(settings.state) if settings.state else state_directory.default_directory()


def url(settings: Settings) -> str:
    """Return where the controller of `towline up` answers on this machine.

    Raises:
        InvalidConfiguration: no controller runs here, or this user may not read where.
    """
    from towline.runtime import state_directory

    place = directory(settings)
    try:
        return (place / state_directory.URL).read_text().strip()
    except PermissionError as error:
        raise InvalidConfiguration(
            f"The state directory {str(place)!r} may not be read by this user.",
            "Whether a controller runs here stands in it: ask as the user whose it is, or with a "
            f"token of your own after towline login URL ({error})",
        ) from error
    except OSError as error:
        raise InvalidConfiguration(
            "No controller is named, and none runs here.",
            "towline login URL keeps one, --url URL or TOWLINE_URL names one, and towline up "
            f"starts one ({error})",
        ) from error


def encrypted(url: str) -> bool:
    """Return whether TLS is spoken at a URL, whose scheme may be in upper case."""
    try:
        return urlsplit(url).scheme == "https"
    except ValueError:  # half of an address of IPv6, which whoever connects refuses
        return False


def authorities(settings: Settings) -> ssl.SSLContext:
    """Return what verifies certificates: those whom the system trusts, and the fleet's own CA.

    Raises:
        InvalidConfiguration: the fleet's CA can't be read.
    """
    import ssl

    from towline.runtime import state_directory

    context = ssl.create_default_context()
    path = directory(settings) / state_directory.API_CA
    try:
        # On most machines there is none, or it is another user's.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            context.load_verify_locations(path)
    except OSError as error:
        raise InvalidConfiguration(
            f"The fleet's CA, {str(path)!r}, can't be read.", str(error)
        ) from error
    return context


def verifying(settings: Settings) -> ssl.SSLContext:
    """Return what verifies the controller's certificate, as commands verify it.

    Raises:
        InvalidConfiguration: the certificates of who signs it can't be read.
    """
    import ssl

    if settings.ca is None and settings.context is not None:
        from towline.cli import first_contact

        return first_contact.trusting(settings.context) or ssl.create_default_context()
    if settings.ca is None:
        return authorities(settings)
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except OSError as error:
        raise InvalidConfiguration(
            f"The CA's certificates, {settings.ca!r}, can't be read.", str(error)
        ) from error


def token_keys(settings: Settings, directory: Path) -> TokenKeys:
    """Return the keys that sign tokens: those of the file named, else the directory's own.

    These are made where there are none; raises as `signing_keys`.
    """
    from towline.controller.token_keys import load_keys
    from towline.runtime import state_directory

    if settings.token_key is None:
        return load_keys(directory / state_directory.TOKEN_KEY, create=True)
    return load_keys(Path(settings.token_key), create=False, named=True)


def client_keys(settings: Settings) -> list[ClientKey]:
    """Return the keys with which clients sign tokens of their own.

    Raises:
        InvalidConfiguration: a file can't be read, or a time is none.
    """
    from towline.controller.token_keys import LONGEST_LIFE, ClientKey, load_client_key

    found = []
    for name, each in settings.token_keys.items():
        try:
            longest = parse_duration(each.longest)
        except ValueError as error:
            raise InvalidConfiguration(
                f"The tokens of {name!r} in token-keys are not valid for any time.", str(error)
            ) from error
        if longest > LONGEST_LIFE:
            raise InvalidConfiguration(
                f"The tokens of {name!r} in token-keys would be valid for too long.",
                f"Write {LONGEST_LIFE / 86400:.0f}d, or less",
            )
        found.append(ClientKey(name, load_client_key(Path(each.file)), each.roles, longest))
    return found


def signing_keys(settings: Settings) -> TokenKeys:
    """Return the keys that sign tokens: those of the file named, else the state directory's own.

    Raises:
        InvalidConfiguration: there is no key, or it can't be read. Only controllers make one: no
            controller accepts a token that is signed with a key of somebody else.
    """
    from towline.controller.token_keys import load_keys
    from towline.runtime import state_directory

    if settings.token_key is not None:
        return load_keys(Path(settings.token_key), create=False, named=True)
    place = directory(settings)
    try:
        return load_keys(place / state_directory.TOKEN_KEY, create=False)
    except InvalidConfiguration as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise InvalidConfiguration(
            f"No controller has its key in the state directory {str(place)!r}.",
            "A controller makes one when it first starts. Name the controller's directory with "
            "--state, or its key with --token-key",
        ) from error


def token(settings: Settings, url: str) -> str:
    """Return a token for this user with the role admin, valid for an hour.

    Args:
        url: of the controller that it is for: that of this machine. Whoever is sent such a token
            may do anything here, so another than the state directory names has to be named together
            with that directory.

    Raises:
        InvalidConfiguration: there is no key to sign it with, or it would go to somebody else.
    """
    if settings.url is not None and settings.state is None and not _answers_here(settings, url):
        raise InvalidConfiguration(
            f"There is no token for {url}.",
            "towline login URL keeps one, --token or TOWLINE_TOKEN gives one; beside the "
            "controller's own key, name its directory, too: --state DIR --url URL",
        )
    try:
        keys = signing_keys(settings)
    except InvalidConfiguration as error:
        raise InvalidConfiguration(
            "There is no token, and no key to make one with.",
            f"Give --token, or set TOWLINE_TOKEN. {error}",
        ) from error
    return keys.create(subject=f"local:{_person()}", roles=["admin"], lifetime=TOKEN_LIFETIME)


def _answers_here(settings: Settings, other: str) -> bool:
    try:
        return url(settings).rstrip("/") == other.rstrip("/")
    except InvalidConfiguration:
        return False


def _person() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # user ids in containers often have no name
        return str(os.getuid())
