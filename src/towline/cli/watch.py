"""Watching a job until its end, or until a person has seen enough."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from towline.cli.display import display

if TYPE_CHECKING:
    from towline.client import Client, NodeProgress, Progress, Result

LOOK_EVERY = 0.25
"""Seconds of silence after which the deadline is looked at."""


class Ended(Exception):
    """A stream has ended."""


def merged(*streams: tuple[str, Callable[[], Iterable[Any]]], seconds: float) -> Iterable[Any]:
    """Yield the items of several streams, each with its stream's name, until all have ended.

    Each stream is read in a thread of its own, since a silent one can't be interrupted. The threads
    end with the process at the latest.

    Args:
        streams: each with its name.
        seconds: after so many seconds of silence None is yielded.

    Raises:
        Exception: whatever a stream raises.
    """
    items: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def read(name: str, stream: Callable[[], Iterable[Any]]) -> None:
        try:
            for each in stream():
                items.put((name, each))
            items.put((name, Ended()))
        except Exception as error:  # noqa: BLE001 - it is raised by the reader
            items.put((name, error))

    for name, stream in streams:
        threading.Thread(target=read, args=(name, stream), daemon=True).start()
    open_streams = len(streams)
    while open_streams:
        try:
            name, each = items.get(timeout=seconds)
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
    """Show how far a job is, until every node that is there has ended or the deadline is past.

    Args:
        deadline: in seconds, by `time.monotonic`.

    Raises:
        ApiError: the controller refuses, or doesn't answer.
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
    """Return whether a job goes on at a node that is there."""
    if len(progress.nodes) < sum(progress.total.nodes.values()):
        return True
    return any(map(awaited, progress.nodes.values()))


def awaited(node: NodeProgress | Result[Any]) -> bool:
    """Return whether commands wait for a node: not for one that has ended, or is away."""
    if node.status == "pending":
        # One that is pending for another reason than its turn is away.
        return node.reason is None or node.waits is not None
    return node.status == "running"
