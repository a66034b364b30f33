"""Watching a job from the command line, until its end or until a person has seen enough."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from towline.cli.display import display

if TYPE_CHECKING:
    from towline.client import Client, Progress

LOOK_EVERY = 0.25


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
