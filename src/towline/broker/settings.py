"""Where the broker is, and how to log in there."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec

from towline.errors import InvalidConfiguration


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
