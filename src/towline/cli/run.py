"""Running an operation from the command line, and printing what became of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from towline.cli import last_words
from towline.cli.connection import Where, connect, duration
from towline.cli.form import Form
from towline.cli.orders import Order, Rows, Stage
from towline.cli.output import print_document, print_names
from towline.cli.results import names_of, print_results
from towline.cli.standard import CannotPrint
from towline.cli.terminal import say
from towline.cli.together import carry_out
from towline.endpoints.operations import status_of
from towline.errors import InvalidConfiguration
from towline.operation import Effect, Operation, catalog

if TYPE_CHECKING:
    from towline.client import Client, Credential, Result


def run(
    operation: Operation[..., Any],
    several: Sequence[dict[str, Any]],
    where: Where,
    options: dict[str, Any],
    credential: Credential | None,
    *,
    on: str,
    wait: str | None,
    form: Form,
    by: str | None = None,
) -> NoReturn:
    """Run an operation, print its results, and end with the exit status that they make.

    Args:
        several: the operation's parameters, by their names, for each job.
        where: where the API is.
        options: how the job is carried out, as `Client.with_options` takes it.
        credential: for the image's registry, where the command line brings one.
        on: the target.
        wait: how long to wait for the nodes that are there; None for their end.
        form: in which form the results are printed.
        by: the parameter that tells several jobs apart; None where the command is for one.

    Raises:
        InvalidConfiguration: the controller can't be found, or `wait` is no duration.
    """
    deadline = deadline_of(wait)
    key = options.pop("idempotency_key", None)
    if key is not None and len(several) > 1:
        raise InvalidConfiguration(
            "--idempotency-key is for one job, and these are several.",
            "Leave it out: each has an id of its own, under which its request is sent again",
        )
    with connect(where) as client:
        asking = client.with_options(**options, credential=credential)
        orders = [
            Order(
                _request(asking, operation, on, parameters),
                name="" if by is None else str(parameters[by]),
                key=key,
            )
            for parameters in several
        ]
        with last_words.on_signals(orders):
            carry_out(
                *(asking, orders, deadline, form),
                status_of=lambda error: status_of(operation, error),
                # What changes nothing is not worth looking for.
                ids=operation.effect is not Effect.READ,
            )
            print_orders(orders, form, operation, by)
    last_words.end(orders)


def deadline_of(wait: str | None) -> float:
    """Return until when to wait, by `time.monotonic`; raises `InvalidConfiguration`."""
    return time.monotonic() + (math.inf if wait is None else duration(wait))


def _request(
    client: Client, operation: Operation[..., Any], on: str, parameters: dict[str, Any]
) -> Callable[[str, float], tuple[str, Rows]]:
    def ask(key: str, wait: float) -> tuple[str, Rows]:
        asking = client.with_options(wait=wait, idempotency_key=key)
        job = asking.run(operation, on, **parameters)
        return job.id, [_row(result, operation.status) for result in job.results]

    return ask


def _row(result: Result[Any], status: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "hostname": result.hostname,
        "machine_id": result.machine_id,
        status: result.status,
    }
    if result.value is not None:
        row |= msgspec.to_builtins(result.value)
    row |= {"error": result.error, "reason": result.reason, "waits": result.waits}
    return {name: value for name, value in row.items() if value is not None}


def print_orders(
    orders: Sequence[Order],
    form: Form,
    operation: Operation[..., Any] | None = None,
    by: str | None = None,
) -> None:
    """Print the results of jobs, one after the other; of those that were refused, documents alone.

    Args:
        operation: which one; None for that of each job, as the controller says it.
        by: the parameter that tells several apart; None where the command is for one.

    Raises:
        CannotPrint: standard output can't be written. It names the jobs that were made.
    """
    made = [order for order in orders if order.stage is Stage.MADE]
    try:
        _print(orders, made, form, operation, by)
    except CannotPrint as error:
        shown = (f"towline job {order.job_id} shows {order.name or 'it'}" for order in made)
        raise CannotPrint(error.error, "\n".join(shown) or error.details) from error


def _print(
    orders: Sequence[Order],
    made: Sequence[Order],
    form: Form,
    operation: Operation[..., Any] | None,
    by: str | None,
) -> None:
    if form.output == "name":
        for order in made:
            print_names(names_of(order.rows, _done_by(order, operation), str(order.job_id)))
    elif form.document:
        if by is not None:
            print_document([{by: order.name, **_document(order)} for order in orders], form)
        elif made:
            print_document(_document(made[0]), form)
    else:
        # What is known of those that can't be followed any more is worth a look.
        known = (order for order in made if order.rows or order.error is None)
        for number, order in enumerate(known):
            if number:
                say("")
            what = _done_by(order, operation)
            print_results(order.rows, what, form, seconds=order.seconds, title=order.name)


def _done_by(order: Order, operation: Operation[..., Any] | None) -> Operation[..., Any] | None:
    return operation or (None if order.operation is None else catalog.get(order.operation))


def _document(order: Order) -> dict[str, Any]:
    """Return what programs are told of a job, or of why there is none."""
    found: dict[str, Any] = {}
    if order.job_id is not None and order.stage in (Stage.MADE, Stage.SENT):
        found["job_id"] = order.job_id
    if order.error is not None:
        found |= {"error": order.error.error, "details": order.error.details}
    if order.stage is Stage.MADE and (order.rows or order.error is None):
        found["results"] = order.rows
    return found
