"""Addresses for the parts: free ports, and sockets that answer."""

import socket
from pathlib import Path


def free_port() -> int:
    """Return a TCP port on loopback that nothing listens on just now.

    Another process may take it before it is used: whoever starts a server on it checks that the
    server came up.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(address: int | Path) -> bool:
    """Say whether something accepts connections on a loopback port or a unix socket."""
    if isinstance(address, int):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", address)) == 0
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0
