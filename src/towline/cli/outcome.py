"""The end of commands that wait for a job: their exit status, and what they say last."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any, NoReturn

from towline.cli.command import INTERRUPTED
from towline.cli.terminal import say
from towline.operation import OUTCOME, STATUS
from towline.wire.event import UNFINISHED


def exit_status(statuses: Collection[str]) -> int:
    """Return the exit status of a command that waited for a job: 0 only if every node succeeded.

    Args:
        statuses: the status of each node's result. A node that skipped the job did not succeed,
            nor did one that has not ended.
    """
    return 0 if all(status == "ok" for status in statuses) else 1


def end(job_id: str, results: list[dict[str, Any]]) -> NoReturn:
    """End a command that waited for a job; where the job goes on, say how to see the rest.

    Args:
        results: the job's, as the API has them: none where no node has anything to say.
    """
    statuses = [result.get(OUTCOME) or result[STATUS] for result in results]
    if any(status in UNFINISHED for status in statuses):
        say(f"not done yet: towline job {job_id} shows the rest", error=True)
    sys.exit(exit_status(statuses))


def interrupted(job_id: str) -> NoReturn:
    """End a command that ^C has interrupted, and say that its job goes on."""
    say(
        f"job {job_id} goes on",
        f"  towline job {job_id} --follow shows it",
        f"  towline cancel {job_id} stops it",
        error=True,
    )
    sys.exit(INTERRUPTED)


def interrupted_early() -> NoReturn:
    """End a command that ^C has interrupted before it knew whether there is a job."""
    say("interrupted; if there is a job already, it goes on: see towline jobs", error=True)
    sys.exit(INTERRUPTED)
