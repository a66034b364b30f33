"""What every long-running part needs of its process: signals, its parent, its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

SUPERVISED = "TOWLINE_SUPERVISED"
"""Set for children of `towline up`: they end when their standard input does."""


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
    """Tell the service manager, if any, of a change of state (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), address)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` until it ends or SIGTERM or SIGINT cancels it."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(main))


async def _until_told(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if os.environ.pop(SUPERVISED, None):

        def parent_gone() -> None:
            if not os.read(0, 1):
                loop.remove_reader(0)
                stop.set()

        loop.add_reader(0, parent_gone)
    work = asyncio.create_task(main())
    told = asyncio.create_task(stop.wait())
    await asyncio.wait([work, told], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        notify("STOPPING=1")
    told.cancel()
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
