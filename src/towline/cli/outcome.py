"""The exit statuses of commands, in one place. Interrupts have those of shells, 128 and more."""

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
IN_HELP = (
    "Exit status: 0 all well, 1 something failed, 2 refused, 3 nothing done, 4 still going on, "
    "5 controller unreachable (docs/cli.md)."
)
"""What the help of each command says that waits."""


def exit_status(
    statuses: Collection[str], *, unreachable: bool = False, refused: bool = False
) -> int:
    """Return the exit status of a command that waited for a job, or for several.

    Args:
        statuses: the status of each node's result, of all jobs.
        unreachable: whether the controller did not answer for one of them.
        refused: whether it refused one of them.
    """
    if "failed" in statuses:
        return FAILED
    if unreachable:
        return UNREACHABLE
    if refused:
        return FAILED if statuses else REFUSED
    if any(status in UNFINISHED for status in statuses):
        return GOES_ON
    if all(status == "ok" for status in statuses):
        return ALL_WELL
    return FAILED if "ok" in statuses else NOTHING_DONE


def of_error(error: TowlineError) -> int:
    """Return the exit status of a command that an error has ended."""
    return UNREACHABLE if isinstance(error, Unreachable | BrokerUnreachable) else REFUSED


def report(error: TowlineError) -> None:
    """Say on standard error what has ended a command."""
    say(f"towline: {error.error}", error=True)
    if error.details not in error.error:
        say(*(f"  {line}" for line in error.details.splitlines()), error=True)
    if error.job_id:
        say(f"  towline job {error.job_id} shows more", error=True)


def statuses_of(results: Iterable[dict[str, Any]]) -> list[str]:
    """Return the status of each result, as the API has them."""
    return [result.get(OUTCOME) or result[STATUS] for result in results]


def stopped(results: list[dict[str, Any]]) -> NoReturn:
    """End a command that stopped a job: well if no node goes on."""
    going_on = any(status in UNFINISHED for status in statuses_of(results))
    sys.exit(GOES_ON if going_on else ALL_WELL)
