"""A dry run on the command line: who would do it, who would not and why, and what would come."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from towline.cli import outcome, watch
from towline.cli.cells import Cell, cell_of, head_of, in_form, node_name, twins
from towline.cli.connection import Where, connect
from towline.cli.form import Form
from towline.cli.output import print_document, print_names
from towline.cli.tables import Column, hanging, print_table, sign
from towline.cli.terminal import say
from towline.cli.together import TOGETHER
from towline.errors import TowlineError
from towline.operation import Operation, catalog
from towline.signature import shown
from towline.units import show_size

if TYPE_CHECKING:
    from towline.client import Credential, DryRun, DryRunResult

DOES = ("would_run", "could_run")
"""What is foreseen of nodes that would do it."""
STATUSES = {"would_fail": "failed"}
"""How nodes would end that do not do it, where it is called otherwise."""
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
    operation = catalog.get(foreseen.operation)
    preview = None if operation is None else operation.preview
    plan = None if preview is None else preview.result
    same = [] if plan is None else shown.fields_that_are(shown.SAME, plan)
    sizes = [] if plan is None else shown.fields_that_are(shown.BYTES, plan)
    rows = foreseen.results
    plans = [node.plan or {} for node in rows]

    counts = Counter(node.status for node in rows)
    parts = [f"{count} {status.replace('_', ' ')}" for status, count in counts.items()]
    changed = [each["changed"] for each in plans if "changed" in each]
    facts = [", ".join(parts) or "no node"]
    if changed:
        facts.append(f"{sum(changed)} would change")
    for field in same:
        values = Counter(each[field] for each in plans if field in each)
        facts += [in_form(cell_of(value), form) for value, _ in values.most_common(1)]
    if foreseen.made is not None:
        facts.append(f"job {foreseen.made} was made already")
    said = f" {sign('·', '-')} ".join(facts)
    say(*hanging(f"{name}: " if name else "", f"dry run: {said}", form.width))

    fields = list(dict.fromkeys(field for each in plans for field in each))
    fields = [field for field in fields if field != UNRESOLVED]
    alike = twins((node.hostname, node.machine_id) for node in rows)

    def value(field: str, found: object) -> Cell:
        return show_size(found) if field in sizes and isinstance(found, int) else cell_of(found)

    print_table(
        [
            *(Column("NODE"), Column("FORESEEN")),
            *(
                Column(head_of(field), gives_way=number, least=8)
                for number, field in enumerate(fields, 1)
            ),
            Column("WHY", words=True),
        ],
        [
            [
                *(node_name(node.hostname, node.machine_id, alike), node.status.replace("_", " ")),
                *(value(field, each.get(field)) for field in fields),
                _why(node, each),
            ]
            for node, each in zip(rows, plans, strict=True)
        ],
        form,
    )


def _why(node: DryRunResult, plan: dict[str, Any]) -> str:
    said = (node.reason, plan.get(UNRESOLVED), node.not_told)
    return "; ".join(str(each) for each in said if each)
