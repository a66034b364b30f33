"""Where the broker is, and how to log in there."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from towline.errors import InvalidConfiguration

_SEED = re.compile("SU[A-Z2-7]{56}")


class UnreadableCA(InvalidConfiguration):
    """The certificates that sign the brokers' can't be read."""


class Settings(msgspec.Struct, frozen=True):
    """Where the broker is and how to log in.

    Attributes:
        urls: one or more `nats://host:port` or `tls://host:port`.
        credentials: a file with a NATS `.creds` text, an nkey seed, or `user:password`.
        ca: a file with the certificates that sign the servers', where they aren't public.
    """

    urls: list[str]
    credentials: Path | None = None
    ca: Path | None = None


def login(settings: Settings) -> dict[str, Any]:
    """Return how to log in, and how to encrypt, as the client library takes it.

    Raises:
        InvalidConfiguration: a file can't be read, or holds no credentials.
    """
    options: dict[str, Any] = {}
    if any(url.startswith("tls://") for url in settings.urls):
        try:
            options["tls"] = ssl.create_default_context(cafile=settings.ca)
        except OSError as error:
            raise UnreadableCA(
                f"The certificates in {str(settings.ca)!r} can't be read.", str(error)
            ) from error
    path = settings.credentials
    if path is None:
        return options
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(
            f"The NATS credentials file {str(path)!r} can't be read.", str(error)
        ) from error
    if "BEGIN NATS USER JWT" in text:
        options["user_credentials"] = str(path)
    elif _SEED.fullmatch(text):
        options["nkeys_seed_str"] = text
    elif ":" in text and "\n" not in text:
        options["user"], _, options["password"] = text.partition(":")
    else:
        raise InvalidConfiguration(
            f"The NATS credentials file {str(path)!r} holds none.",
            "It takes a NATS .creds text, an nkey seed, or one line user:password.",
        )
    return options


def check_url(url: str) -> None:
    """Refuse what is no broker's URL.

    Raises:
        InvalidConfiguration: it is none; what could be a password in it is not repeated.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("nats", "tls") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        _, at, rest = url.rpartition("@")
        shown = f"***@{rest}" if at else rest
        raise InvalidConfiguration(
            f"{shown!r} is no broker.",
            "Write nats://HOST:PORT or tls://HOST:PORT, and user and password into a file for "
            "--nats-credentials",
        )


def without_password(url: str) -> str:
    """Return `url` with no user and no password, fit for a log."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
