"""Connections of clients that are encrypted, and what the API shows them to prove whose it is."""

from __future__ import annotations

import asyncio
import os
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from pathlib import Path

import structlog

from towline.controller.http.protocol import Connection
from towline.errors import InvalidConfiguration
from towline.runtime.secret_file import check_secret_file
from towline.trust.certificates import Pair

log = structlog.get_logger()

LOOK_EVERY = 10.0
"""Seconds between looks whether there is another certificate."""
RECORD = 16 * 1024
"""Bytes of TLS that are deciphered at once: a record's most (RFC 8446, section 5.1)."""


class Files:
    """A certificate that somebody else makes, and puts in place of the one before.

    Args:
        certificate: the file with it, and with those between it and the CA.
        key: the file with its key.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._found: Pair | None = None

    def __call__(self) -> Pair:
        """Return what is in the files now.

        Raises:
            InvalidConfiguration: they can't be read.
        """
        try:
            found = Pair(self._certificate.read_text(), self._key.read_text())
            if found != self._found:
                # Once for each: it is looked for again and again, and a warning would be, too.
                check_secret_file(self._key, "The key of the API's certificate", named=True)
                self._found = found
            return found
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfiguration(
                "The API's certificate, or the key of that, can't be read.", str(error)
            ) from error


class Certificate:
    """What the API shows its clients. Who connects after it was renewed is shown the new one.

    Args:
        source: returns the certificate that is to be shown.
        look_every: seconds; see the constant.

    Attributes:
        context: encrypts the next connection.

    Raises:
        InvalidConfiguration: there is none, or it can't be used.
    """

    def __init__(self, source: Callable[[], Pair], *, look_every: float = LOOK_EVERY) -> None:
        self._source = source
        self._look_every = look_every
        self._shown = source()
        self.context = _context(self._shown)

    async def run(self) -> None:
        """Look whether there is another, for ever."""
        while True:
            await asyncio.sleep(self._look_every)
            try:
                found = self._source()
                if found == self._shown:
                    continue
                # Of two files one may have been replaced, and the other not yet.
                self.context = _context(found)
            except InvalidConfiguration as error:
                log.error("certificate not renewed yet", reason=f"{error.error} {error.details}")
                continue
            self._shown = found
            log.info("certificate renewed")


def _context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL reads files alone. This one is on no disk.
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "w", closefd=False) as file:
            file.write(f"{pair.certificate}\n{pair.key}\n")
        # Without a password it would ask for one where the key is locked.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    except (OSError, ValueError) as error:
        raise InvalidConfiguration(
            "The API's certificate can't be used with its key.",
            f"{error}: both are PEM, the key is not locked with a password, and they belong "
            "together",
        ) from error
    finally:
        os.close(descriptor)
    return context


class Encrypted(SSLProtocol):
    """Encrypts a connection of a client. It counts from when it is open, before its handshake.

    asyncio's own servers make connections known after that alone, and take four times the memory
    for each.

    Args:
        connection: what is within.
        context: encrypts it.
    """

    max_size = RECORD

    def __init__(self, connection: Connection, context: ssl.SSLContext) -> None:
        # Nobody waits for the handshake.
        super().__init__(
            *(asyncio.get_running_loop(), connection, context, None),  # type: ignore[arg-type]
            server_side=True,
        )
        self._connection = connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake, unless there is no room even to say why the client is refused."""
        if self._connection.open(transport, encrypted=True):
            super().connection_made(transport)
        else:
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._connection.leave()
