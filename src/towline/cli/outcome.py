"""The exit statuses of commands, all in one place, and what those that wait for a job say last."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import Any, NoReturn

from towline.cli.terminal import say
from towline.errors import BrokerUnreachable, TowlineError, Unreachable
from towline.operation import OUTCOME, STATUS
from towline.wire.event import UNFINISHED

ALL_WELL = 0
"""Every node did it."""
FAILED = 1
"""At least one node failed; or some did it, and others expired, were cancelled or skipped it."""
REFUSED = 2
"""The command line is not valid, or the controller refused the request: nothing was made. So is
whatever else goes wrong on this machine."""
NOTHING_DONE = 3
"""No node failed, and none did it: all skipped it, expired or were cancelled."""
GOES_ON = 4
"""The wait is over, or nodes are away; none has failed so far."""
UNREACHABLE = 5
"""The controller doesn't answer, or can't reach the broker."""
INTERRUPTED = 130
"""^C has ended the command: 128 and the number of SIGINT, as in shells."""

IN_HELP = (
    "Exit status: 0 all well, 1 something failed, 2 refused, 3 nothing done, 4 still going on, "
    "5 controller unreachable (docs/cli.md)."
)
"""What the help of each command says that waits."""


def exit_status(statuses: Collection[str]) -> int:
    """Return the exit status of a command that waited for a job.

    Args:
        statuses: the status of each node's result.
    """
    if "failed" in statuses:
        return FAILED
    if any(status in UNFINISHED for status in statuses):
        return GOES_ON
    if all(status == "ok" for status in statuses):
        return ALL_WELL
    return FAILED if "ok" in statuses else NOTHING_DONE


def of_error(error: TowlineError) -> int:
    """Return the exit status of a command that an error has ended."""
    return UNREACHABLE if isinstance(error, Unreachable | BrokerUnreachable) else REFUSED


def failed(error: TowlineError, status: int | None = None) -> NoReturn:
    """Say on standard error what has ended a command, and end with its exit status.

    Args:
        status: None for that of the error.
    """
    say(f"towline: {error.error}", error=True)
    if error.details not in error.error:
        say(*(f"  {line}" for line in error.details.splitlines()), error=True)
    if error.job_id:
        say(f"  towline job {error.job_id} shows more", error=True)
    sys.exit(of_error(error) if status is None else status)


def statuses_of(results: Iterable[dict[str, Any]]) -> list[str]:
    """Return the status of each result, as the API has them."""
    return [result.get(OUTCOME) or result[STATUS] for result in results]


def end(job_id: str, results: list[dict[str, Any]]) -> NoReturn:
    """End a command that waited for a job; where the job goes on, say how to see the rest.

    Args:
        results: the job's, as the API has them: none where no node has anything to say.
    """
    statuses = statuses_of(results)
    if any(status in UNFINISHED for status in statuses):
        say(f"not done yet: towline job {job_id} shows the rest", error=True)
    sys.exit(exit_status(statuses))


def stopped(results: list[dict[str, Any]]) -> NoReturn:
    """End a command that stopped a job: well if no node goes on."""
    going_on = any(status in UNFINISHED for status in statuses_of(results))
    sys.exit(GOES_ON if going_on else ALL_WELL)


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
