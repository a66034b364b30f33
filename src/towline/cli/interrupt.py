"""Signals that end a command which waits: it says its last words first."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""^C, what other programs end one by, and the end of the terminal."""


class Interrupted(KeyboardInterrupt):
    """A signal has ended the command.

    Attributes:
        status: the exit status that shells have for it, 128 and its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Have the first of these signals raise `Interrupted`, and let none break off what follows.

    Those that whoever started the process has it ignore, as `nohup` does, stay ignored.
    """

    def interrupt(number: int, _: FrameType | None) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    caught = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.getsignal(each) for each in caught}
    interrupted = False
    for each in caught:
        signal.signal(each, interrupt)
    try:
        yield
    except Interrupted:
        interrupted = True
        raise
    finally:
        if not interrupted:
            for each, handler in before.items():
                signal.signal(each, handler)


def status_of(interrupt: KeyboardInterrupt) -> int:
    """Return the exit status of a command that was interrupted."""
    return interrupt.status if isinstance(interrupt, Interrupted) else 128 + signal.SIGINT
