"""A dry run on the command line: who would do it, who would not and why, and what would come."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from towline.cli import outcome, watch
from towline.cli.connection import Where, connect
from towline.cli.form import Form
from towline.cli.output import print_document, print_names
from towline.cli.result_kind import Kind, kind_of_struct
from towline.cli.results import Row, lines_of_kind
from towline.cli.terminal import say
from towline.cli.together import TOGETHER
from towline.errors import TowlineError
from towline.operation import Operation, catalog

if TYPE_CHECKING:
    from towline.client import Credential, DryRun, DryRunResult

DOES = ("would_run", "could_run")
"""What is foreseen of nodes that would do it."""
STATUSES = {"would_fail": "failed"}
"""How nodes would end that do not do it, where it is called otherwise."""
FORESEEN = "foreseen"
"""What a node's status is called here."""
CHANGES = ("would change", "would change nothing")
SUM_OF = "{1} would be {0}"
UNRESOLVED = "unresolved"
"""The field of a plan that says in words what is not known."""


def run(
    operation: Operation[..., Any],
    several: Sequence[dict[str, Any]],
    where: Where,
    options: dict[str, Any],
    credential: Credential | None,
    *,
    on: str,
    form: Form,
    by: str | None,
) -> NoReturn:
    """Ask what an operation would come to, print it, and end: well if somebody would do it.

    Args:
        several: the operation's parameters, by their names, for each job.
        where: where the API is.
        options: how the job would be carried out, as `Client.with_options` takes it.
        credential: for the image's registry, where the command line brings one.
        on: the target.
        form: in which form it is printed.
        by: the parameter that tells several jobs apart; None where the command is for one.

    Raises:
        ApiError: the request would be refused.
        InvalidConfiguration: the controller can't be found.
    """
    names = ["" if by is None else str(parameters[by]) for parameters in several]
    answers: dict[int, DryRun] = {}
    waiting = iter(list(enumerate(several)))
    with connect(where) as client:
        asking = client.with_options(**options, credential=credential)

        def ask() -> Iterator[tuple[int, DryRun]]:
            # The threads share the list: each takes the next one.
            for number, parameters in waiting:
                try:
                    yield number, asking.dry_run(operation, on, **parameters)
                except TowlineError as error:
                    if names[number]:
                        error.error = f"{names[number]}: {error.error}"
                    raise

        threads = [("", ask)] * min(TOGETHER, len(several))
        answers.update(each[1] for each in watch.merged(*threads, seconds=watch.LOOK_EVERY) if each)
    show([answers[number] for number in range(len(several))], names, form, by=by)


def show(found: Sequence[DryRun], names: Sequence[str], form: Form, *, by: str | None) -> NoReturn:
    """Print what is foreseen, and end: well if somebody would do it.

    Args:
        names: what tells several apart, each with its own.
        by: the parameter that it is; None for one alone.
    """
    if form.document:
        plain = [msgspec.to_builtins(each) for each in found]
        if by is not None:
            named = zip(names, plain, strict=True)
            print_document([{by: name, **each} for name, each in named], form)
        else:
            print_document(plain[0], form)
    elif form.output == "name":
        does = (node.hostname for each in found for node in each.results if node.status in DOES)
        print_names(dict.fromkeys(does))
    else:
        for number, (name, each) in enumerate(zip(names, found, strict=True)):
            if number:
                say("")
            _print(each, form, name)
    sys.exit(outcome.exit_status([status for each in found for status in _statuses(each)]))


def _statuses(foreseen: DryRun) -> list[str]:
    """Return how nodes would end: well if one of them would do it."""
    if any(node.status in DOES for node in foreseen.results):
        return ["ok"]
    return [STATUSES.get(node.status, node.status) for node in foreseen.results]


def _print(foreseen: DryRun, form: Form, name: str) -> None:
    """Print what is foreseen as results are: a sum, what is worth a row, and who would not, why."""
    operation = catalog.get(foreseen.operation)
    preview = None if operation is None else operation.preview
    kind = msgspec.structs.replace(
        Kind() if preview is None else kind_of_struct(preview.result),
        status=FORESEEN,
        well=[_in_words(each) for each in DOES],
        changes=CHANGES,
        sum_of=SUM_OF,
    )
    rows = [_row(node) for node in foreseen.results]
    title = f"{name}: dry run" if name else "dry run"
    say(*lines_of_kind(rows, kind, form, title=title))
    if foreseen.made is not None:
        say(f"job {foreseen.made} was made already")


def _row(node: DryRunResult) -> Row:
    """Return what is foreseen of a node as results have it."""
    plan = node.plan or {}
    why = (node.reason, plan.get(UNRESOLVED), node.not_told)
    return {
        **{"hostname": node.hostname, "machine_id": node.machine_id},
        FORESEEN: _in_words(node.status),
        "reason": "; ".join(str(each) for each in why if each),
        **{field: value for field, value in plan.items() if field != UNRESOLVED},
    }


def _in_words(status: str) -> str:
    return status.replace("_", " ")
