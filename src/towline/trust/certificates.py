"""A certificate authority of the fleet's own, and the certificates of its servers.

They are of the kind that every TLS library takes: ECDSA on P-256.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from towline.errors import InvalidConfiguration
from towline.runtime.secret_file import check_secret_file

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

AUTHORITY_LASTS = datetime.timedelta(days=3650)
SERVER_LASTS = datetime.timedelta(days=7)
"""How long certificates of servers are valid. They are made anew at each start, and by a server
that runs on when half of that is over."""
RENEW_EVERY = SERVER_LASTS.total_seconds() / 2
"""Seconds until a server that runs on gets another certificate."""
SKEW = datetime.timedelta(hours=1)
"""How far the clocks of the fleet's machines may be apart."""
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----[^-]*-----END \1-----")


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its key, as PEM."""

    certificate: str
    key: str


def make_authority(called: str = "Towline CA") -> Pair:
    """Return a new certificate authority; what it is called is for people."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(called)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _builder(name, name, key, AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _signed(builder, key, key)


class Authority:
    """The certificate authority, which signs the servers' certificates.

    Of several in the files the one signs whose certificate is the first. Its key may stand anywhere
    among the others, so that the two files can be replaced one after the other.

    Args:
        certificate, key: the files.

    Raises:
        InvalidConfiguration: they can't be read, or don't belong together.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = read_certificates(certificate)[0]
        wanted = self._certificate.public_key()
        found = [each for each in read_keys(key) if each.public_key() == wanted]
        if not found:
            raise InvalidConfiguration(
                f"No key in {str(key)!r} is that of the first certificate in {str(certificate)!r}.",
                "Put back the two that belong together",
            )
        self._key = found[0]

    @property
    def certificate(self) -> str:
        """The authority's own certificate, as PEM."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return self._certificate.public_bytes(Encoding.PEM).decode()

    def issue(
        self,
        names: Iterable[str],
        *,
        connects: bool = False,
        lasts: datetime.timedelta = SERVER_LASTS,
    ) -> Pair:
        """Return a server's certificate.

        Args:
            names: by which the server is reached: host names and addresses.
            connects: whether the server shows it, too, where it connects to others of its kind.
            lasts: how long it is valid.

        Raises:
            InvalidConfiguration: a name is none.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH]
        if connects:
            usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        try:
            alternatives = [_general_name(name) for name in dict.fromkeys(names)]
        except ValueError as error:
            raise InvalidConfiguration(
                "A name by which a server is to be reached is none.", str(error)
            ) from error
        authority = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        builder = (
            _builder(_name("Towline server"), self._certificate.subject, key, lasts)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority.value),
                critical=False,
            )
        )
        return _signed(builder, key, self._key)


class Renewed:
    """The certificate of a server that runs on: another one whenever it is time.

    Args:
        authority: returns what signs it.
        names: returns the names and addresses by which the server is reached.
        connects: as of `Authority.issue`.
        with_authority: whether the authority's own certificate is shown behind it: whoever does not
            know that yet can ask a person about it.
        renew_every: seconds; see the constant.
        clock: returns the time in seconds since 1970.
    """

    def __init__(
        self,
        authority: Callable[[], Authority],
        names: Callable[[], Iterable[str]],
        *,
        connects: bool = False,
        with_authority: bool = False,
        renew_every: float = RENEW_EVERY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._authority = authority
        self._names = names
        self._connects = connects
        self._with_authority = with_authority
        self._renew_every = renew_every
        self._clock = clock
        self._issued = 0.0
        self._pair: Pair | None = None

    def forget(self) -> None:
        """Have another one made next, whatever the time."""
        self._pair = None

    def __call__(self) -> Pair:
        """Return the one that is to be shown now.

        Raises:
            InvalidConfiguration: the authority can't be read, or a name is none.
        """
        now = self._clock()
        # By the clock that certificates are valid by: it may have been wrong before.
        if self._pair is None or not 0 <= now - self._issued < self._renew_every:
            authority = self._authority()
            pair = authority.issue(self._names(), connects=self._connects)
            behind = authority.certificate if self._with_authority else ""
            self._pair = Pair(pair.certificate + behind, pair.key)
            self._issued = now
        return self._pair


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates in a file.

    Raises:
        InvalidConfiguration: there is none, or something else.
    """
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidConfiguration(
            f"The certificate {str(path)!r} can't be read.", str(error)
        ) from error


def check_certificates(text: str) -> None:
    """Return if a text has certificates by which servers' can be verified, and nothing cut off.

    Raises:
        ValueError: it has none that can be read.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"there is no certificate in it that can be read: {error}") from error


def read_keys(path: Path) -> list[EllipticCurvePrivateKey]:
    """Return the keys of authorities in a file.

    Raises:
        InvalidConfiguration: there is none, or something else, or any user may read it.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    name = "The key of the CA"
    try:
        check_secret_file(path, name, named=False)
        text = path.read_text()
        found = [load_pem_private_key(each.encode(), None) for each in pem_blocks(text) or [text]]
    except (OSError, TypeError, ValueError) as error:
        raise InvalidConfiguration(f"{name}, {str(path)!r}, can't be read.", str(error)) from error
    keys = [each for each in found if isinstance(each, ec.EllipticCurvePrivateKey)]
    if len(keys) != len(found):
        raise InvalidConfiguration(
            f"{name}, {str(path)!r}, is of another kind.", "Put back the one that was there"
        )
    return keys


def pem_blocks(text: str) -> list[str]:
    """Return what stands in a text as PEM, one by one."""
    return [f"{each.group()}\n" for each in _PEM.finditer(text)]


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 fingerprint of a certificate, in hexadecimal."""
    from cryptography.hazmat.primitives import hashes

    return certificate.fingerprint(hashes.SHA256()).hex()


def short_id(text: str) -> str:
    """Return by what people call a key, or a certificate, of which this is public in full."""
    return text[:16]


def fingerprints(text: str) -> list[str]:
    """Return the fingerprints of the certificates in a text; raises ValueError where one is none.

    They are those of `fingerprint`, without a library that takes long to load.
    """
    return [
        hashlib.sha256(base64.b64decode("".join(each.splitlines()[1:-1]))).hexdigest()
        for each in pem_blocks(text)
    ]


def names_of_machine() -> list[str]:
    """Return by what this machine may be reached: its names, and its addresses."""
    import psutil

    names = ["localhost", socket.gethostname()]
    with contextlib.suppress(OSError, UnicodeError):
        names.append(socket.getfqdn())
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family in (socket.AF_INET, socket.AF_INET6):
                # A link-local address has its interface behind a percent sign.
                names.append(address.address.partition("%")[0])
    return [name for name in names if _is_name(name)]


def _is_name(name: str) -> bool:
    try:
        _general_name(name)
    except ValueError:
        return False
    return True


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    try:
        if not name:
            raise UnicodeError("empty")
        return x509.DNSName(name.encode("idna").decode())
    except UnicodeError as error:
        raise ValueError(f"{name!r} is neither a host name nor an address") from error


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    lasts: datetime.timedelta,
) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + lasts)
    )


def _signed(
    builder: x509.CertificateBuilder,
    key: EllipticCurvePrivateKey,
    issuer: EllipticCurvePrivateKey,
) -> Pair:
    from cryptography.hazmat.primitives import hashes, serialization

    certificate = builder.sign(issuer, hashes.SHA256())
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )
