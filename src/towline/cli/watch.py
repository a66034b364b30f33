"""Watching a job until its end, or until a person has seen enough."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from towline.operation import OUTCOME, STATUS

if TYPE_CHECKING:
    from collections.abc import Generator

    from towline.client import Client, NodeProgress, Progress

LOOK_EVERY = 0.25
"""Seconds of silence after which whoever waits looks at what else there is."""


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


def watch(client: Client, job_id: str, deadline: float, show: Callable[[Progress], None]) -> None:
    """Follow how far a job is, until every node that is there has ended.

    Args:
        deadline: in seconds, by `time.monotonic`: the first news after it is the last.
        show: takes each news.

    Raises:
        ApiError: the controller refuses, or hasn't answered for minutes.
    """
    # One that ends before the stream does has to close it: connections are limited.
    stream = cast("Generator[Progress]", client.progress(job_id))
    with contextlib.closing(stream):
        for progress in stream:
            show(progress)
            if progress.done or not waitable(progress) or time.monotonic() >= deadline:
                return


def waitable(progress: Progress) -> bool:
    """Return whether a job goes on at a node that is there."""
    if len(progress.nodes) < sum(progress.total.nodes.values()):
        return True
    return any(map(awaited, progress.nodes.values()))


def awaited(node: NodeProgress) -> bool:
    """Return whether commands wait for a node: not for one that has ended, or is away."""
    return _awaited(node.status, node.reason, node.waits)


def awaited_row(row: dict[str, Any]) -> bool:
    """Return the same of a node by its result, as the API has it."""
    return _awaited(row.get(OUTCOME) or row[STATUS], row.get("reason"), row.get("waits"))


def _awaited(status: str, reason: str | None, waits: str | None) -> bool:
    if status == "pending":
        # One that is pending for another reason than its turn is away.
        return reason is None or waits is not None
    return status == "running"
