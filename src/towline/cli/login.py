"""Logging in to a controller: what it takes to reach it is kept, as a context."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from towline.cli import first_contact, local, names
from towline.cli.command import Command
from towline.cli.passwords import read_secret
from towline.cli.terminal import say
from towline.errors import ApiError, InvalidConfiguration

HIDING = ("url", "context", "state", "token", "ca")
"""Settings of which a variable goes before the current context, or before what that has."""
IN_FILE = HIDING[:2]
"""Those of which the configuration file has what goes before it."""


@click.command(cls=Command)
@click.argument("url", metavar="[URL]", required=False)
@click.option("--name", metavar="NAME", help="What the context is called; the host unless given.")
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
@click.option("--ca", metavar="FILE", help="The certificates that sign the controller's, PEM.")
@click.option(
    "--pin",
    metavar="FINGERPRINT",
    help="The SHA-256 of the CA's certificate: it is taken without a question.",
)
def login(
    url: str | None, name: str | None, token_stdin: bool, ca: str | None, pin: str | None
) -> None:
    """Keep a controller's URL, a token for it and its CA, as the current context.

    The token is asked for, and never an argument. Without URL it is that of the context.

    \b
    Example:
        towline login https://controller.example:8080
    """
    from towline.runtime import contexts

    name, url, known = _meant(url, name)
    authority = _authority(url, known, ca, pin, ask=not token_stdin)
    if not token_stdin and not sys.stdin.isatty():
        raise InvalidConfiguration(
            "There is no terminal to type the token at.",
            "Give --token-stdin, and the token on standard input",
        )
    token = read_secret("Token").strip()
    version = _asked(url, token, authority)
    contexts.write(name, contexts.Context(url, token, authority))
    contexts.use(name)
    say(
        f"Logged in to {url} (Towline {version}). "
        f"The context {name} is the current one: commands ask this controller."
    )
    warn_of_hiding()


@click.command(cls=Command)
@click.argument("name", metavar="[CONTEXT]", required=False)
def logout(name: str | None) -> None:
    """Forget the token of a context, the current one unless another is named.

    The token itself is good until it expires or is revoked.
    """
    from towline.runtime import contexts

    name = name or contexts.current()
    if name is None:
        raise InvalidConfiguration("Nobody is logged in.", "towline context list shows contexts")
    found = contexts.read(name)
    contexts.write(name, contexts.Context(found.url, None, found.ca))
    names.forget(found.url, found.token)
    say(f"Logged out of {found.url}. The token is good until it expires: towline token revoke ID")


def _meant(url: str | None, name: str | None) -> tuple[str, str, str | None]:
    """Return the name of the context, its URL, and the CA that is known of it already.

    Raises:
        InvalidConfiguration: neither is named, the URL is not valid, or the name is that of
            another controller.
    """
    from towline.runtime import contexts

    if url is None:
        name = name or contexts.current()
        if name is None:
            raise InvalidConfiguration(
                "No controller is named.", "Write towline login https://HOST:PORT"
            )
        found = contexts.read(name)
        return name, found.url, found.ca
    from towline.client.connection import connection

    try:
        parts = urlsplit(url.rstrip("/"))
        # The scheme is in lower case from here on.
        url, host = parts.geturl(), parts.hostname or ""
    except ValueError:  # half of an address of IPv6
        url = host = ""
    # Before anything repeats it, for it may have a password in it.
    connection(url, "none")
    called = re.sub(r"[^A-Za-z0-9._-]+", "-", host).strip("-") if name is None else name
    chosen = contexts.check_name(called)
    if chosen not in contexts.names():
        return chosen, url, None
    present = contexts.read(chosen)
    if present.url == url:
        return chosen, url, present.ca
    if name is None:
        raise InvalidConfiguration(
            f"The context {chosen!r} is of another controller, {present.url}.",
            "Give this one another name, with --name NAME",
        )
    return chosen, url, None


def _authority(
    url: str, known: str | None, ca: str | None, pin: str | None, *, ask: bool
) -> str | None:
    """Return who signs the controller's certificate, as PEM; None where the system trusts it.

    Raises:
        InvalidConfiguration: the file can't be read, nothing answers, or nobody confirms it.
    """
    if ca is not None:
        try:
            text = Path(ca).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfiguration(f"{ca!r} can't be read.", str(error)) from error
        certificates = first_contact.certificates(text)
        first_contact.verifier(certificates)
        return certificates
    if not local.encrypted(url):
        return None
    if pin is not None:
        return first_contact.pinned(url, pin)
    if known is not None:
        return known
    try:
        first_contact.check(url)
    except first_contact.Shown as shown:
        if not (ask and sys.stdin.isatty()):
            raise
        say(
            f"{url} shows a certificate of an authority that this machine does not know:",
            f"  sha256 {shown.fingerprint}",
            "On the controller's machine towline trust status shows it, at api-ca.pem.",
            error=True,
        )
        if not click.confirm("Is it the same", err=True):
            raise InvalidConfiguration("Nothing was kept.") from shown
        return shown.certificate
    return None


def _asked(url: str, token: str, authority: str | None) -> str:
    """Return the controller's version, once it has taken the token.

    Raises:
        ApiError: it doesn't answer, or doesn't take the token.
    """
    from towline.client import Client
    from towline.endpoints import health

    trusted: Any = None if authority is None else first_contact.verifier(authority)
    with Client(url, token, ca=trusted) as client:
        found = client.call(health.version)
        try:
            client.jobs(limit=1)
        except ApiError as error:
            # A token that may not list jobs is one all the same.
            if error.status != 403:
                raise
    return found.version


def warn_of_hiding() -> None:
    from towline.runtime import sources

    for variable in map(sources.name_of, HIDING):
        if sources.variable(variable) is not None:
            say(f"{variable} is set, and goes before it: unset {variable}", error=True)
    of_file = sources.of_file(None)
    for key in IN_FILE:
        if key in of_file:
            say(f"{sources.file(None)!r} sets {key}, which goes before it", error=True)


COMMANDS = (login, logout)
