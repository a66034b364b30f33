"""A terminal, and a program on it that leads its session, as in a window of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.testing.process import Failed


def readable(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read within some time; `select` takes no high descriptors."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


class Terminal:
    """A pseudo-terminal with a program on it; closing it is closing the window.

    Parameters: `env` is the program's whole environment, to which `TERM` is added where it has
    none.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str],
        *,
        columns: int = 100,
        rows: int = 40,
    ) -> None:
        self.screen = ""
        self.status: int | None = None
        self.pid, self._keyboard = pty.fork()
        if self.pid == 0:
            words = [os.fsencode(part) for part in command]
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                os.execvpe(words[0], words, {"TERM": "xterm", **env})
            finally:
                os._exit(127)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def close(self) -> None:
        """Close the window, if it is open: the program gets SIGHUP."""
        if self._keyboard >= 0:
            os.close(self._keyboard)
            self._keyboard = -1

    def type(self, text: str) -> None:
        """Type something; `\\x03` is ^C."""
        os.write(self._keyboard, text.encode())

    def wait_for(self, text: str, *, timeout: float = 60.0) -> None:
        """Wait until a text has been on the screen."""
        deadline = time.monotonic() + timeout
        while text not in self.screen:
            if not self._read(max(0.0, deadline - time.monotonic())):
                raise Failed(f"{text!r} did not appear; the screen had:\n{self.screen}")

    def wait(self, *, timeout: float = 60.0) -> int:
        """Wait for the program's end, and return its status, minus a signal's number."""
        deadline = time.monotonic() + timeout
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                raise Failed(f"it still runs; the screen had:\n{self.screen}")
            # What nobody reads could hold up its end.
            elif self._keyboard < 0 or not self._read(0.05):
                time.sleep(0.02)
        while self._keyboard >= 0 and self._read(0.0):
            pass
        return self.status

    def _read(self, seconds: float) -> bool:
        """Read what is there within some time; return whether there was something."""
        if not readable(self._keyboard, seconds):
            return False
        try:
            found = os.read(self._keyboard, 65536)
        except OSError:  # so Linux says that nobody has it open any more
            return False
        self.screen += found.decode(errors="replace").replace("\r\n", "\n")
        return bool(found)
