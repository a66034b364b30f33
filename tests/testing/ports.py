"""Addresses for the parts: free ports, and sockets that answer."""

import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST = 10_000
_random = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """Return a TCP port on loopback that nothing listens on just now, another one each time.

    It is none of those that connections get at their own end: one of these may take a port while
    the server that had it is started again.
    """
    first_ephemeral = int(_EPHEMERAL.read_text().split()[0])
    while True:
        port = _random.randrange(_FIRST, first_ephemeral)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


def listening(address: int | Path) -> bool:
    """Say whether something accepts connections on a loopback port or a unix socket."""
    if isinstance(address, int):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", address)) == 0
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0
