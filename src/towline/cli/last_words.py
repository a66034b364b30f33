"""What a command that waits says last: of which jobs it does not know the end, and how to go on."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NoReturn

from towline.cli import outcome
from towline.cli.interrupt import Interrupted, interruptible
from towline.cli.orders import Order, Stage
from towline.cli.terminal import say
from towline.errors import Unreachable


@contextlib.contextmanager
def on_signals(orders: Sequence[Order]) -> Iterator[None]:
    """Have a signal end the command, which says what is known of its jobs then."""
    try:
        with interruptible():
            yield
    except Interrupted as interrupt:
        interrupted(orders, interrupt)


@contextlib.contextmanager
def instead(*lines: str) -> Iterator[None]:
    """Have a signal end the command, which says this then; so it does where no answer comes."""
    try:
        with interruptible():
            yield
    except Interrupted as interrupt:
        _say(*lines)
        sys.exit(interrupt.status)
    except Unreachable as error:
        if error.unknown:
            words = "\n".join(lines)
            raise Unreachable(error.error, words, status=error.status, unknown=True) from error
        raise


def end(orders: Sequence[Order]) -> NoReturn:
    """End a command whose orders were carried out, with the exit status that all of them make."""
    failures: dict[tuple[str, str], list[Order]] = {}
    for order in orders:
        if order.error is not None:
            failures.setdefault((order.error.error, order.error.details), []).append(order)
        elif order.goes_on:
            of = f"{order.name}: " if order.name else ""
            _say(f"not done yet: {of}towline job {order.job_id} shows the rest")
    for alike in failures.values():
        cause = alike[0].error
        assert cause is not None
        outcome.report(cause)
        if len(orders) > 1:
            _say(*(f"  {order.name}" for order in alike))
        elif alike[0].goes_on:
            _say(*_alone(alike[0], ", as far as is known"))
    if len(orders) > 1:
        unsure = [order for order in orders if order.error is not None or not order.goes_on]
        _say(*_left(unsure, ", as far as is known"))
    sys.exit(_status(orders))


def _status(orders: Sequence[Order]) -> int:
    statuses = [status for order in orders for status in order.statuses]
    failed = [order for order in orders if order.failure is not None]
    # Whatever has ended the waiting, their jobs go on.
    followed = [order for order in failed if order.goes_on and order.stage is Stage.MADE]
    return outcome.exit_status(
        [*statuses, *("pending" for _ in followed)],
        unreachable=any(
            isinstance(order.failure, Unreachable) or order.stage is Stage.SENT for order in failed
        ),
        refused=len(failed) > len(followed),
    )


def interrupted(orders: Sequence[Order], interrupt: Interrupted) -> NoReturn:
    """End a command that a signal has ended: its jobs go on."""
    if len(orders) == 1:
        _say(*_alone(orders[0]))
    else:
        _say(*_ended(orders), *_left(orders))
    sys.exit(interrupt.status)


def _alone(order: Order, known: str = "") -> list[str]:
    """Return what is said of the only job of a command."""
    if order.stage in (Stage.WAITING, Stage.REFUSED):
        return ["interrupted: no job was made"]
    if not order.goes_on:
        return [f"interrupted: job {order.job_id} has ended, towline job {order.job_id} shows it"]
    if order.stage is Stage.SENT and order.job_id is None:
        return [
            "it is not known whether a job was made; if it was, it goes on",
            f"  the same command with --idempotency-key {order.key} shows it, or makes it",
        ]
    said = f"job {order.job_id} goes on{known}"
    if order.stage is Stage.SENT:
        said = f"it is not known whether job {order.job_id} was made; if it was, it goes on"
    return [
        said,
        f"  towline job {order.job_id} --follow shows it",
        f"  towline cancel {order.job_id} stops it",
    ]


def _ended(orders: Sequence[Order]) -> list[str]:
    """Return what is said of those of several jobs that were over before a signal came."""
    ended = [order for order in orders if order.stage is Stage.MADE and not order.goes_on]
    refused = [order for order in orders if order.stage is Stage.REFUSED]
    return [*_listed(ended, "has ended", "have ended"), *_listed(refused, "not made", "not made")]


def _left(orders: Sequence[Order], known: str = "") -> list[str]:
    """Return what is said of those of several jobs that go on, or may, or were not asked for."""
    going_on = [order for order in orders if order.goes_on]
    made = [order for order in going_on if order.stage is Stage.MADE]
    doubtful = [order for order in going_on if order.stage is Stage.SENT]
    unsent = [order for order in orders if order.stage is Stage.WAITING]
    lines = [
        *_listed(made, f"goes on{known}", f"go on{known}"),
        *_listed(doubtful, "goes on, if it was made", "go on, if they were made"),
    ]
    if going_on:
        lines.append("  towline job ID --follow shows one, towline cancel ID stops it")
    if unsent:
        lines += [f"{len(unsent)} not asked for:", *(f"  {order.name}" for order in unsent)]
    return lines


def _listed(orders: Sequence[Order], one: str, many: str) -> list[str]:
    if not orders:
        return []
    head = f"1 job {one}:" if len(orders) == 1 else f"{len(orders)} jobs {many}:"
    return [head, *map(_line, orders)]


def _line(order: Order) -> str:
    """Return what is said of one of several jobs: its id, its name, and what is known of it."""
    counts = Counter(order.statuses)
    known = [", ".join(f"{count} {status}" for status, count in counts.items())]
    if order.failure is not None:
        known.append(order.failure.error)
    parts = [order.job_id or order.key, order.name, "; ".join(filter(None, known))]
    return "  " + "  ".join(filter(None, parts))


def _say(*lines: str) -> None:
    if lines:
        say(*lines, error=True)
