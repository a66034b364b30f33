"""Watching a job from the command line, until its end or until a person has seen enough."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from towline.cli.output import printable
from towline.cli.words import in_words, sum_in_words

if TYPE_CHECKING:
    from towline.client import Client, Progress
    from towline.wire.progress import NodeProgress

LINES_EVERY = 5.0
"""Seconds between lines where there is no terminal; before the first one, too."""
LOOK_EVERY = 0.25
FEW = 20
"""Nodes up to which lines tell of each."""
UNFINISHED = ("pending", "running")
INTERRUPTED = 130


class Display(Protocol):
    """What shows how far a job is."""

    def show(self, progress: Progress) -> None:
        """Show how far it is now."""

    def say(self, line: str) -> None:
        """Print a line that stays."""

    def close(self) -> None:
        """Show nothing more."""


class Lines:
    """Tells how far a job is where there is no terminal: in a few lines now and then.

    Args:
        say: prints a line of it.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self._next = time.monotonic() + LINES_EVERY
        self._told: dict[str, str] = {}

    def show(self, progress: Progress) -> None:
        """Print what has changed since the last lines, if these were long enough ago."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LINES_EVERY
        told = {"": f"job {progress.job_id}: {sum_in_words(progress.total)}"}
        nodes: Iterable[NodeProgress] = progress.nodes.values()
        if len(progress.nodes) > FEW:
            nodes = (*progress.total.slowest, *progress.total.failed)
        told |= {node.machine_id: f"  {node.hostname}: {in_words(node)}" for node in nodes}
        for name, line in told.items():
            if self._told.get(name) != line:
                self._say(printable(line))
        self._told = told

    def say(self, line: str) -> None:
        """Print a line to standard output."""
        print(line, flush=True)

    def close(self) -> None:
        """Nothing is open."""


def display() -> Display:
    """Return what suits where standard error goes: a terminal is drawn on, else there are lines."""
    if not sys.stderr.isatty():
        return Lines()
    # Slow to import, and of no use to most commands.
    from towline.cli.display import Screen

    return Screen()


class Ended(Exception):
    """A stream has ended."""


def merged(*streams: tuple[str, Callable[[], Iterable[Any]]], seconds: float) -> Iterable[Any]:
    """Yield what several streams bring, until all have ended, and None every now and then.

    Each is read in a thread of its own, which ends with the process at the latest: a stream that
    is silent can't be interrupted.

    Args:
        streams: each with the name that stands beside what it brings.
        seconds: after how many of silence None is yielded.

    Raises:
        Exception: what a stream has raised.
    """
    brought: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def read(name: str, stream: Callable[[], Iterable[Any]]) -> None:
        try:
            for each in stream():
                brought.put((name, each))
            brought.put((name, Ended()))
        except Exception as error:  # noqa: BLE001 - it is raised where it can be told
            brought.put((name, error))

    for name, stream in streams:
        threading.Thread(target=read, args=(name, stream), daemon=True).start()
    open_streams = len(streams)
    while open_streams:
        try:
            name, each = brought.get(timeout=seconds)
        except queue.Empty:
            yield None
            continue
        if isinstance(each, Ended):
            open_streams -= 1
        elif isinstance(each, Exception):
            raise each
        else:
            yield name, each


def watch(client: Client, job_id: str, deadline: float) -> None:
    """Show how far a job is until it ends, `deadline`, or only nodes that are away are missing.

    Args:
        deadline: as `time.monotonic` has it.

    Raises:
        ApiError: the controller doesn't tell.
    """
    screen = display()
    try:
        for each in merged(("progress", lambda: client.progress(job_id)), seconds=LOOK_EVERY):
            if time.monotonic() >= deadline:
                return
            if each is not None:
                _, progress = each
                screen.show(progress)
                if progress.done or not waitable(progress):
                    return
    finally:
        screen.close()


def waitable(progress: Progress) -> bool:
    """Whether a job goes on at a node that is there; nobody waits for those that are away."""
    if len(progress.nodes) < sum(progress.total.nodes.values()):
        return True
    return any(
        node.status == "running"
        or (node.status == "pending" and (node.error is None or node.waits is not None))
        for node in progress.nodes.values()
    )


def interrupted(job_id: str) -> NoReturn:
    """Say that a job goes on though nobody watches it any more, and end."""
    print(
        f"job {job_id} goes on\n"
        f"  towline job {job_id} --follow shows it\n"
        f"  towline cancel {job_id} stops it",
        file=sys.stderr,
    )
    sys.exit(INTERRUPTED)
