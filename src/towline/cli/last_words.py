"""What a command that waits says last: of which jobs it does not know the end, and how to go on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

import click

from towline.cli import outcome, spoken
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
def instead(words: str) -> Iterator[None]:
    """Have a signal end the command, which says this then."""
    try:
        with interruptible():
            yield
    except Interrupted as interrupt:
        _say(words)
        sys.exit(interrupt.status)


def end(orders: Sequence[Order]) -> NoReturn:
    """End a command whose orders were carried out, with the exit status that all of them make."""
    for error in (order.error for order in orders if order.error is not None):
        if (context := click.get_current_context(silent=True)) is not None:
            spoken.translate(error, context.command)
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
        elif isinstance(cause, Unreachable):
            _say(*_unsure(alike[0]))
    if len(orders) > 1:
        _say(*_left(orders))
    errors = [order.error for order in orders if order.error is not None and order.told is None]
    sys.exit(
        outcome.exit_status(
            [status for order in orders for status in order.statuses],
            unreachable=any(isinstance(error, Unreachable) for error in errors),
            refused=bool(errors),
        )
    )


def _left(orders: Sequence[Order]) -> list[str]:
    """Return what is said of those of several orders that the controller did not answer."""
    unsent = [order for order in orders if order.stage is Stage.WAITING]
    unsure = [order for order in orders if isinstance(order.error, Unreachable) and order.goes_on]
    return [
        *_listed(unsure, "goes on, as far as is known", "go on, as far as is known"),
        *_not_sent(unsent),
    ]


def interrupted(orders: Sequence[Order], interrupt: Interrupted) -> NoReturn:
    """End a command that a signal has ended: its jobs go on."""
    unsent = [order for order in orders if order.stage is Stage.WAITING]
    sent = [order for order in orders if order.goes_on]
    if len(orders) == 1:
        _say(*_alone(orders[0]))
    else:
        made = [order for order in sent if order.stage is Stage.MADE]
        _say(*_listed(made, "goes on", "go on"))
        doubtful = [order for order in sent if order.stage is Stage.SENT]
        _say(*_listed(doubtful, "goes on, if it was made", "go on, if they were made"))
        if sent:
            _say("  towline job ID --follow shows one, towline cancel ID stops it")
        _say(*_not_sent(unsent))
    sys.exit(interrupt.status)


def _alone(order: Order) -> list[str]:
    if order.stage in (Stage.WAITING, Stage.REFUSED):
        return ["interrupted: no job was made"]
    if not order.goes_on:
        return [f"interrupted: job {order.job_id} has ended, towline job {order.job_id} shows it"]
    if order.stage is Stage.MADE:
        return [f"job {order.job_id} goes on", *_how(order)]
    return _unsure(order)


def _unsure(order: Order) -> list[str]:
    """Return what is said of a job of which the controller gave no answer."""
    if order.stage is Stage.REFUSED:
        return []
    if order.stage is Stage.MADE:
        return [f"job {order.job_id} goes on, as far as is known", *_how(order)]
    if order.job_id is None:
        return [
            "it is not known whether a job was made; if it was, it goes on",
            f"  the same command with --idempotency-key {order.key} shows it, or makes it",
        ]
    return [
        f"it is not known whether job {order.job_id} was made; if it was, it goes on",
        *_how(order),
    ]


def _how(order: Order) -> list[str]:
    return [
        f"  towline job {order.job_id} --follow shows it",
        f"  towline cancel {order.job_id} stops it",
    ]


def _listed(orders: Sequence[Order], one: str, many: str) -> list[str]:
    if not orders:
        return []
    head = f"1 job {one}:" if len(orders) == 1 else f"{len(orders)} jobs {many}:"
    return [head, *(f"  {order.job_id}  {order.name}" for order in orders)]


def _not_sent(orders: Sequence[Order]) -> list[str]:
    if not orders:
        return []
    return [f"{len(orders)} not asked for:", *(f"  {order.name}" for order in orders)]


def _say(*lines: str) -> None:
    if lines:
        say(*lines, error=True)
