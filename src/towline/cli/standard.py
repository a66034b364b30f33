"""The standard streams of a command: nothing that is written to them breaks off with a traceback.

What a stream's encoding has no sign for is escaped. What can't be written to standard output ends
the command, in words; what can't be written to standard error is lost, since nobody could be told.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys

from towline.errors import TowlineError

NO_READER = 128 + signal.SIGPIPE
"""The exit status of a command whose output nobody reads any more: that of shells, for who looks at
it (`set -o pipefail`). Nothing is said: `towline job list | head -1` is in order."""


class CannotPrint(TowlineError):
    """Standard output takes no more: the disk behind it is full, or it is closed."""


class _Stream(io.FileIO):
    """Standard output or standard error, which once it can't be written swallows what follows."""

    def write(self, data: object, /) -> int:
        """Write bytes, as many as there is room for.

        Raises:
            CannotPrint: it is standard output, and that can't be written.
            SystemExit: it is standard output, and nobody reads it any more.
        """
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            # What stands in buffers is written again when the process ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if self.fileno() != 1:
                return memoryview(data).nbytes  # type: ignore[arg-type]
            if error.errno == errno.EPIPE:
                raise SystemExit(NO_READER) from None
            why = "it is closed" if error.errno == errno.EBADF else error.strerror
            raise CannotPrint(
                f"Standard output can't be written: {why}.",
                "What was asked for may be done all the same",
            ) from error


def open_streams() -> None:
    """Have the process's standard streams be such ones, unless others stand in their place.

    A stream that was closed by whoever started the process is one that can't be read or written: it
    must not become the number of a socket or a file that is opened later.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one. Nothing can be written to it.
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    for number, name in ((1, "stdout"), (2, "stderr")):
        present = getattr(sys, name)
        if present is getattr(sys, f"__{name}__"):
            if present is not None:
                present.flush()
            setattr(sys, name, _opened(number, None if present is None else present.encoding))


def _opened(number: int, encoding: str | None) -> io.TextIOWrapper:
    raw = _Stream(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=number == 2 or raw.isatty(),
    )
