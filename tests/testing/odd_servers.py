"""Servers on an address of this machine that isn't loopback, where engines trust nobody."""

import socket
import ssl
import struct
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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


def certificate(directory: Path, name: str, *, on: str = "now") -> Path:
    """Make a certificate that nobody has signed, for `IP:…` or `DNS:…`, with its key.

    It is for a day; `on` is when that begins, as faketime has it.
    """
    made = directory / f"{name.replace(':', '-')}.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=tests", "-addext", f"subjectAltName={name}"]
    command += ["-keyout", str(made), "-out", str(made.with_suffix(".crt"))]
    subprocess.run(["faketime", on, *command], check=True, capture_output=True)
    made.write_text(made.read_text() + made.with_suffix(".crt").read_text())
    return made
