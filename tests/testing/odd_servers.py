"""Servers on an address of this machine that isn't loopback, where engines trust nobody."""

import socket
import ssl
import struct
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def own_address() -> str | None:
    """Return an address of this machine that others would reach it at, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # nothing is sent
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return None if address.startswith("127.") else address


class OddServer:
    """A server that gives everybody the same answer, `answer`, which may be changed: b"" to reset
    connections, None to say nothing for as long as clients wait.

    Parameters: `certificate` has it speak TLS: a file with the certificate and its key.
    """

    def __init__(self, answer: bytes | None, certificate: Path | None = None) -> None:
        self.answer = answer
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        address = own_address()
        assert address is not None
        self._listener = socket.create_server((address, 0))
        self._thread = threading.Thread(target=self._serve, name="odd-server")
        self._silent: list[socket.socket] = []

    @property
    def host(self) -> str:
        """host:port."""
        address, port = self._listener.getsockname()[:2]
        return f"{address}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for connection in self._silent:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            if self.answer is None:
                self._silent.append(connection)
                continue
            try:
                self._answer(connection, self.answer)
            except OSError:
                pass  # a client that does not like what it sees, and says so by leaving
            finally:
                connection.close()

    def _answer(self, connection: socket.socket, answer: bytes) -> None:
        connection.settimeout(10)
        if self._tls is not None:
            with self._tls.wrap_socket(connection, server_side=True) as secure:
                secure.recv(65536)
                secure.sendall(answer)
            return
        connection.recv(65536)
        if not answer:
            # It is reset, instead of closed.
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.sendall(answer)


def certificate(directory: Path, name: str, *, begins: datetime | None = None) -> Path:
    """Make a certificate that nobody has signed, for `IP:…` or `DNS:…`, with its key.

    It is for a day, from `begins` on: now, if that is None.
    """
    kind, _, value = name.partition(":")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    alternative = x509.IPAddress(ip_address(value)) if kind == "IP" else x509.DNSName(value)
    start = begins or datetime.now(UTC)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    made = directory / f"{name.replace(':', '-')}.pem"
    made.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(pem)
    )
    return made
