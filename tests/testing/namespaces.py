"""Machines that are network namespaces, joined by a cable that can be listened on."""

import ctypes
import os
import socket
import struct
import subprocess
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.testing.assembly import Assembly
from tests.testing.process import TowlineProcess

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of <sched.h>
_ALL_PROTOCOLS = 0x0003  # ETH_P_ALL of <linux/if_ether.h>
_IPV4, _TCP = 0x0800, 6
_LARGEST = 1 << 17


class Cable(Assembly):
    """Two machines, `left` and `right`, with one network between them, and all that passes there.

    Attributes: `left` and `right` are the names of the namespaces, `left_address` and
    `right_address` the addresses.
    """

    left_address, right_address = "192.0.2.1", "192.0.2.2"

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (f"towline-{os.getpid()}-{side}" for side in ("left", "right"))
        self._frames: list[bytes] = []

    def _start(self) -> None:
        for name in (self.left, self.right):
            _ip("netns", "add", name)
            self._parts.callback(_ip, "netns", "del", name)
        _ip(
            *("link", "add", "cable", "netns", self.left),
            *("type", "veth", "peer", "name", "cable", "netns", self.right),
        )
        for name, address in ((self.left, self.left_address), (self.right, self.right_address)):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            for link in ("cable", "lo"):
                _ip("-n", name, "link", "set", link, "up")
        listening = self._parts.enter_context(_listening_in(self.left))
        thread = threading.Thread(target=self._listen, args=[listening], name="cable")
        thread.start()
        self._parts.callback(thread.join)
        self._parts.callback(listening.shutdown_now)

    def _listen(self, listening: "_Listening") -> None:
        while (frame := listening.next()) is not None:
            self._frames.append(frame)

    def streams(self) -> list[bytes]:
        """Return what has passed in each direction of each TCP connection so far."""
        found: dict[bytes, list[bytes]] = defaultdict(list)
        for frame in list(self._frames):
            if len(frame) < 34 or struct.unpack_from("!H", frame, 12)[0] != _IPV4:
                continue
            packet = frame[14:]
            length, total = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)[0]
            if packet[9] != _TCP:
                continue
            segment = packet[length:total] if total else packet[length:]
            ends = packet[12:20] + segment[:4]
            found[ends].append(segment[(segment[12] >> 4) * 4 :])
        return [b"".join(parts) for parts in found.values()]


class _Listening(socket.socket):
    """A socket that receives whatever passes an interface, until it is shut."""

    def __init__(self) -> None:
        super().__init__(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        self.bind(("cable", 0))
        self.settimeout(0.2)
        self._shut = threading.Event()

    def shutdown_now(self) -> None:
        """Have `next` return None."""
        self._shut.set()

    def next(self) -> bytes | None:
        """Return the next frame, None when it was shut."""
        while not self._shut.is_set():
            try:
                return self.recv(_LARGEST)
            except TimeoutError:
                continue
        return None


def _listening_in(namespace: str) -> _Listening:
    """Return what receives in a namespace: the thread that makes it enters it, and ends there."""

    def enter() -> None:
        with Path(f"/run/netns/{namespace}").open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _NEW_NETWORK) != 0:
                raise OSError(ctypes.get_errno(), f"can't enter {namespace}")

    with ThreadPoolExecutor(max_workers=1, initializer=enter) as thread:
        return thread.submit(_Listening).result()


def inside(namespace: str) -> list[str]:
    """Return what runs a command in a namespace."""
    return ["ip", "netns", "exec", namespace]


class PartInside(TowlineProcess):
    """A part that runs in a namespace."""

    def __init__(self, namespace: str, *arguments: str | Path, logs: Path, name: str) -> None:
        super().__init__(*arguments, logs=logs, name=name, env={"TOWLINE_CONFIG": "/dev/null"})
        self.command = [*inside(namespace), *self.command]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
