"""The first contact with a controller: by which certificate it is known from then on.

One that is signed by nobody whom the system trusts is shown by its fingerprint, which a person
compares with what the controller's machine says, as `ssh` has it.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from towline.errors import InvalidConfiguration, TowlineError

CONNECT_WITHIN = 10.0
"""Seconds for a handshake."""


class Shown(TowlineError):
    """A controller shows a certificate that is signed by nobody who is trusted.

    Attributes:
        certificate: that of its signer, as PEM.
        fingerprint: of that.
    """

    def __init__(self, url: str, certificate: str) -> None:
        self.certificate = certificate
        self.fingerprint = fingerprint(certificate)
        super().__init__(
            f"{url} shows a certificate of an authority that this machine does not know: "
            f"sha256 {self.fingerprint}",
            "Compare that with what towline trust status shows on the controller's machine, and "
            "give --pin FINGERPRINT; or the authority's certificate, with --ca FILE",
        )


def fingerprint(certificate: str) -> str:
    """Return the SHA-256 of a certificate in PEM, as `towline trust status` shows it."""
    return fingerprints(certificate)[0]


def fingerprints(text: str) -> list[str]:
    """Return the SHA-256 of each certificate in a text that has some in PEM."""
    from towline.trust.certificates import fingerprints

    return fingerprints(certificates(text))


def certificates(text: str) -> str:
    """Return the certificates alone of a text that has some in PEM."""
    from towline.trust.certificates import pem_blocks

    return "".join(each for each in pem_blocks(text) if "BEGIN CERTIFICATE" in each)


def same(one: str, other: str) -> bool:
    """Return whether two texts are the same fingerprint, with colons or without."""
    plain = [re.sub(r"^sha-?256[ :=]|:", "", text.strip().lower()).strip() for text in (one, other)]
    return plain[0] == plain[1]


def verifier(certificates: str) -> ssl.SSLContext:
    """Return what verifies a controller by the certificates, in PEM, of its signers alone.

    Raises:
        InvalidConfiguration: they are none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # What was shown last need not be the root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidConfiguration("These are no certificates in PEM.", str(error)) from error
    return context


def trusting(name: str) -> ssl.SSLContext | None:
    """Return what verifies the controller of a context; None where that is the system's to say."""
    from towline.runtime import contexts

    found = contexts.read(name).ca
    return None if found is None else verifier(found)


def pinned(url: str, pin: str) -> str:
    """Return the certificate of a controller's signer, in PEM, where it is the one that is pinned.

    Raises:
        InvalidConfiguration: it is another one, or the controller's own certificate is not valid.
    """
    certificate = _signer(url)
    found = fingerprint(certificate)
    if not same(pin, found):
        raise InvalidConfiguration(
            f"{url} shows another certificate than the one that is pinned.",
            f"Its authority's SHA-256 is {found}. Somebody between may pass itself off as the "
            "controller",
        )
    _check(url, certificate)
    return certificate


def check(url: str) -> None:
    """Check that the system trusts who has signed a controller's certificate.

    Raises:
        Shown: it doesn't.
        InvalidConfiguration: nothing answers there, or it is for another name, or has ended.
    """
    try:
        _handshake(url, ssl.create_default_context())
    except ssl.SSLCertVerificationError as error:
        certificate = _signer(url)
        _check(url, certificate)
        raise Shown(url, certificate) from error


def _check(url: str, certificate: str) -> None:
    """Raise `InvalidConfiguration` unless a controller's certificate is valid by its signer's."""
    try:
        _handshake(url, verifier(certificate))
    except ssl.SSLCertVerificationError as error:
        raise InvalidConfiguration(
            f"The certificate of {url} is not valid: {error.verify_message}.",
            "The controller needs one for this name: start it with --address NAME",
        ) from error


def _signer(url: str) -> str:
    """Return the last certificate that a controller shows, in PEM: its signer's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Nothing is sent by this connection, and nothing of it is believed that nobody has looked at.
    context.verify_mode = ssl.CERT_NONE
    return _handshake(url, context)[-1]


def _handshake(url: str, context: ssl.SSLContext) -> list[str]:
    """Connect, and return the certificates that are shown, in PEM.

    Raises:
        ssl.SSLCertVerificationError: they are not trusted, or are not for this name.
        InvalidConfiguration: nothing answers there, or no TLS.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        with (
            socket.create_connection((host, parts.port or 443), timeout=CONNECT_WITHIN) as plain,
            context.wrap_socket(plain, server_hostname=host) as encrypted,
        ):
            # Public since Python 3.13; before, only what is within has it.
            inner: Any = encrypted._sslobj  # type: ignore[attr-defined]
            return [
                each if isinstance(each, str) else each.public_bytes()
                for each in inner.get_unverified_chain() or []
            ]
    except ssl.SSLCertVerificationError:
        raise
    except OSError as error:
        details = str(error)
        if getproxies():
            details += (
                ". The certificate is asked for directly, and by none of the proxies of the "
                "environment: where that can't be, give --ca FILE"
            )
        raise InvalidConfiguration(f"The controller at {url} does not answer.", details) from error
