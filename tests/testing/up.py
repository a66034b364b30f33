"""`towline up`, and a service manager for it to talk to."""

import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from tests.testing.plain_http import UNENCRYPTED
from tests.testing.ports import free_port
from tests.testing.process import TowlineProcess, wait_until
from towline.controller.token_keys import load_keys


class Up(TowlineProcess):
    """`towline up` on a free port, with settings from nowhere but here.

    Parameters: `directory` holds its output, and the directory `state` unless `state` names
    another; `arguments` are further ones. It listens on a free port unless these name one.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str | Path,
        state: str | Path | None = None,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.state = (cwd or directory) / (state or directory / "state")
        listen = f"127.0.0.1:{free_port()}"
        self.url = f"http://{listen}"
        super().__init__(
            "up",
            *("--state", state or self.state, *arguments),
            *(() if "--listen" in arguments else ("--listen", listen)),
            logs=directory,
            name="up",
            env={"TOWLINE_CONFIG": "/dev/null", "TOWLINE_HEARTBEAT": "1s", **(env or {})},
            cwd=cwd,
        )

    def wait_ready(self) -> None:
        """Wait until it has shown "ready" since its last start."""
        self.wait_for_output("^ready$")

    def wait_for_pulls(self) -> None:
        """Wait until a pull would work, by the controller."""

        def works() -> bool:
            try:
                answer = httpx.get(f"{self.url}/health/ready", verify=UNENCRYPTED)
                return answer.status_code == 200
            except httpx.HTTPError:
                return False

        self.wait_for(works, what="a pull that works")

    def client(self) -> httpx.Client:
        """Return an HTTP client of the API that may do all."""
        keys = load_keys(self.state / "token.key", create=False)
        token = keys.create(subject="tests", roles=["admin"], lifetime=3600)
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, verify=UNENCRYPTED)

    def parts(self) -> dict[str, int]:
        """Return the process ids of its parts, `broker`, `controller` and `agent`.

        The broker is the server, also where a `towline broker` runs that.
        """
        found = {}
        for pid in self.survivors():
            arguments = command_of(pid)
            if arguments[:1] and arguments[0].endswith("nats-server"):
                found["broker"] = pid
            elif arguments[1:3] == ["-m", "towline"] and arguments[3] != "broker":
                found[arguments[3]] = pid
        return found


def command_of(pid: int) -> list[str]:
    """Return the arguments of a process; none for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def naming(directory: Path) -> list[int]:
    """Return the processes, whosever they are, that have a directory in their arguments."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if any(str(directory) in part for part in command_of(pid))]


@dataclass(frozen=True)
class Notification:
    """What a process has sent to the service manager, at once."""

    pid: int
    lines: tuple[str, ...]


class ServiceManager:
    """The end of sd_notify(3) that listens.

    Parameters: `address` is what NOTIFY_SOCKET says: a path, or `@` and an abstract name.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.received: list[Notification] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._thread = threading.Thread(target=self._listen, name="service-manager")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while True:
            text, control, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
            if not text:
                return
            pid, _, _ = struct.unpack("3i", control[0][2])
            self.received.append(Notification(pid, tuple(text.decode().split("\n"))))

    def count(self, line: str) -> int:
        """Return how often a line has been received."""
        return sum(line in notification.lines for notification in self.received)

    def wait_for(self, line: str, *, times: int = 1) -> None:
        """Wait until a line has been received so many times."""
        wait_until(lambda: self.count(line) >= times, what=f"notification {line!r}")
