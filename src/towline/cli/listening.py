"""Where the API of a controller listens, and how it is encrypted there."""

from __future__ import annotations

import ipaddress
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from towline.errors import InvalidConfiguration
from towline.runtime.config import Settings

if TYPE_CHECKING:
    from towline.controller.http.encryption import Certificate


def api_options(command: Any) -> Any:
    """Add the options that say where the API answers, and how, to a command."""
    for option in reversed(
        (
            click.option(
                "--listen",
                metavar="HOST:PORT",
                help="The address at which the API answers. Beyond loopback it is encrypted, with "
                "a certificate by the fleet's own CA.",
            ),
            click.option(
                "--address",
                "addresses",
                metavar="NAME",
                multiple=True,
                help="A name or an address by which it is reached, beside those that this machine "
                "knows of itself. It may be given several times.",
            ),
            click.option(
                "--tls-cert",
                metavar="FILE",
                help="A certificate of your own for the API. It is read again when it changes.",
            ),
            click.option("--tls-key", metavar="FILE", help="The key of that certificate."),
            click.option(
                "--plain-http",
                is_flag=True,
                default=None,
                help="Encrypt nothing beyond loopback either: for a proxy with TLS on a network "
                "of its own. Whoever sees the network reads every token and registry password.",
            ),
        )
    ):
        command = option(command)
    return command


def address_of(listen: str) -> tuple[str, int]:
    """Return host and port of an address.

    Raises:
        InvalidConfiguration: it is none.
    """
    host, _, port = listen.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidConfiguration(
            f"{listen!r} is no address.", "Write HOST:PORT, for example 127.0.0.1:8080"
        )
    return host.strip("[]"), int(port)


def reached(listen: str) -> str:
    """Return the address by which this machine reaches what listens, maybe on all addresses."""
    return listen.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on a host."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):  # whoever listens there says that it is none
        return False
    return all(
        ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found
    )


def certificate(settings: Settings, directory: Path) -> Certificate | None:
    """Return what the API's clients are shown; None where it is not encrypted.

    Args:
        directory: the state directory.

    Raises:
        InvalidConfiguration: there is none, it can't be used, or more than one way is asked for.
    """
    from towline.controller.http.encryption import Certificate, Files
    from towline.trust import keys
    from towline.trust.certificates import Renewed

    own = (settings.tls_cert, settings.tls_key)
    if any(own) and settings.plain_http:
        raise InvalidConfiguration(
            "The API is to be plain HTTP, and to be encrypted.",
            "Leave out either --plain-http, or --tls-cert and --tls-key",
        )
    if settings.tls_cert and settings.tls_key:
        return Certificate(Files(Path(settings.tls_cert), Path(settings.tls_key)))
    if any(own):
        raise InvalidConfiguration(
            "The API's certificate needs its key, and the key its certificate.",
            "Give both, --tls-cert FILE and --tls-key FILE",
        )
    host, _ = address_of(settings.listen)
    if settings.plain_http or is_loopback(host):
        return None
    if not keys.exists(directory):
        raise InvalidConfiguration(
            f"There is no certificate for the API on {settings.listen}, which others can reach.",
            "Make the fleet's own CA with towline trust init; or give --tls-cert FILE and "
            "--tls-key FILE, or --plain-http where a proxy encrypts",
        )
    trust = keys.open_trust(directory)
    names = partial(_names, settings, host)
    return Certificate(Renewed(lambda: trust.api_authority, names, with_authority=True))


def _names(settings: Settings, host: str) -> list[str]:
    from towline.trust.certificates import names_of_machine

    return [*names_of_machine(), *settings.addresses, host]
