"""What every long-running part needs of its process: signals, its parent, the service manager."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

SUPERVISED = "TOWLINE_SUPERVISED"
"""Set in the environment of a part of `towline up`: it ends when its standard input does."""

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""The signals that ask a process to end: a manager's, and those that a terminal sends."""

COLLECT_AFTER = 10_000
"""Objects that may be made before the collector looks for cycles among them; Python's own 700 are
those of a few requests."""

EXTEND_EVERY = 20.0
"""Seconds between two requests to the service manager for more time to start."""


def child_environment() -> dict[str, str]:
    """Return the environment for a child of `towline up`.

    It has neither the service manager's socket, on which a part would speak for the whole, nor
    a token, which no part needs.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("NOTIFY_SOCKET", "TOWLINE_TOKEN")
    }


def notify(text: str) -> None:
    """Send a change of state to the service manager, if there is one (sd_notify(3)).

    Args:
        text: lines such as `READY=1` or `STATUS=…`.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), address)


@contextlib.contextmanager
def starting(text: str, *, every: float = EXTEND_EVERY) -> Iterator[Callable[[], None]]:
    """Notify the service manager of a start that goes on, until what this yields is called.

    A service manager ends what is not ready within 90 s or so. What waits for a broker is in order
    all the while, and may have work to do, so more time is asked for again and again.

    Args:
        text: what the start waits for; the service manager shows it as the status.
        every: seconds between two requests for more time.
    """

    async def extend() -> None:
        while True:
            notify(f"EXTEND_TIMEOUT_USEC={round(3 * every * 1_000_000)}")
            await asyncio.sleep(every)

    def ready() -> None:
        extending.cancel()
        notify("READY=1\nSTATUS=ready")

    notify(f"STATUS={text}")
    extending = asyncio.get_running_loop().create_task(extend())
    try:
        yield ready
    finally:
        extending.cancel()


def print_line(text: str) -> None:
    """Print a line on standard output, where a person may read it."""
    line = f"{text}\n".encode(sys.stdout.encoding, errors="backslashreplace")
    write_if_possible(sys.stdout.fileno(), line)


def write_if_possible(descriptor: int, line: bytes) -> None:
    """Write a whole line, or lose it where it can't be written.

    A terminal that was closed, or a full disk behind a redirection, must end no service.
    """
    with contextlib.suppress(OSError):
        while line:
            line = line[os.write(descriptor, line) :]


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` until it ends, or is cancelled by a signal or by the end of the supervisor.

    The signals are SIGTERM, SIGINT, SIGHUP (the terminal is gone) and SIGQUIT. The last two are
    left alone where whoever started the process has them ignored, as nohup(1) does.
    """
    import uvloop

    # What was imported stays: looked at again in each collection, it cost a tenth of a controller's
    # time under a load of reads. And most of what a request makes is gone without any collection.
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_ended(main))


async def _until_ended(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in _ENDING:
        # A shell without job control has SIGINT ignored by what it runs in the background. Here it
        # is a request to end all the same.
        if number is signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, end.set)
    if os.environ.pop(SUPERVISED, None):

        def read_input() -> None:
            if not os.read(0, 1):
                loop.remove_reader(0)
                end.set()

        loop.add_reader(0, read_input)
    work = asyncio.create_task(main())
    ending = asyncio.create_task(end.wait())
    await asyncio.wait([work, ending], return_when=asyncio.FIRST_COMPLETED)
    if end.is_set():
        notify("STOPPING=1")
    ending.cancel()
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
