"""`towline apply`: the sets that files have, declared; what differs is shown before it is done."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from towline.cli import last_words
from towline.cli.command import Command
from towline.cli.connection import connect, take_where, with_connection
from towline.cli.form import Form
from towline.cli.options import take_form, with_output
from towline.cli.output import print_document, print_names
from towline.cli.sets.changes import (
    CHANGED_MEANWHILE,
    NOT_FOUND,
    TIMES,
    body_of,
    foreseen,
    found_of,
    unchanged_since,
)
from towline.cli.sets.differences import differences, said
from towline.cli.sets.files import Declared, read, refuse
from towline.cli.sets.foreseen import CHANGED, CREATED, REMOVED, UNCHANGED, WOULD, lacking
from towline.cli.terminal import say
from towline.errors import ApiError, InvalidConfiguration, Unreachable

if TYPE_CHECKING:
    from towline.client import Client
    from towline.endpoints.set_views import SetView

SAME, DIFFERENT = 0, 1
"""The exit statuses of `diff`, of `git diff --exit-code` and of `kubectl diff`."""
IN_HELP = (
    "Exit status: 0 nothing changed, 1 something was changed or, with --dry-run, would be, "
    "2 refused, 5 controller unreachable (docs/cli.md)."
)
FORBIDDEN = 403
UNPROCESSABLE = (400, FORBIDDEN, NOT_FOUND, 409)
"""Statuses of what is wrong with one set, so that the others are worth a look."""


class Step(msgspec.Struct, kw_only=True):
    """What is to be done about one set.

    Attributes:
        name: the set's.
        what: whether it is created, changed, unchanged or removed.
        lines: what is another about it.
        nodes: what is known of its nodes, in words; "" for nothing.
        declared: as a file has it; None for one that is removed.
        found: as it is now; None where there is none.
    """

    name: str
    what: str
    lines: list[str] = []
    nodes: str = ""
    declared: Declared | None = None
    found: Any = None


def _print_schema(context: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        from towline.cli.sets.schema import schema

        say(*json.dumps(schema(), indent=2).split("\n"))
        context.exit()


@with_connection
@with_output
@click.command(cls=Command, epilog=IN_HELP)
@click.option(
    *("-f", "--file", "paths"),
    metavar="FILE",
    multiple=True,
    required=True,
    help="A file of YAML documents, a set each; a directory of such files; or - for standard "
    "input. May be given more than once.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing, and show what would be.")
@click.option(
    "--prune",
    is_flag=True,
    help="Remove sets of the same source that no file has; each file must have one.",
)
@click.option("--source", metavar="NAME", help="What the sets are from: a repository, for example.")
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON schema of a set's document, and do nothing.",
)
def apply(
    paths: tuple[str, ...], dry_run: bool, prune: bool, source: str | None, **values: Any
) -> None:
    """Declare the sets that files have.

    All are checked before any is changed, by the controller, too; then what differs is shown, and
    then done. Nodes follow: towline set list shows how far they are.

    \b
    Example:
        towline apply -f sets/ --source infra --prune --dry-run
    """
    where, form = take_where(values), take_form(values)
    declared = read(paths, source, whole=prune)
    sources = {each.body.get("source") or "" for each in declared}
    if (prune and len(sources) != 1) or (sources == {""} and prune):
        raise InvalidConfiguration(
            "--prune removes sets of one source, and "
            + ("none is named." if sources == {""} else "the files have several."),
            "Name it: --source NAME",
        )
    with connect(where) as client:
        steps = _checked(client, declared, sources if prune else set())
        if form.for_people:
            _show(steps, form, dry_run=dry_run)
        if not dry_run:
            _carry_out(client, steps, form)
    _end(steps, form, dry_run=dry_run)


def _checked(client: Client, declared: Sequence[Declared], pruned: set[str]) -> list[Step]:
    """Return what is to be done, each checked by the controller.

    Args:
        pruned: the sources of which sets are removed that no file has.

    Raises:
        InvalidConfiguration: one is refused; the text has file and line of each.
        ApiError: the controller doesn't answer, or nothing may be asked.
    """
    from towline.endpoints import sets

    known = {each.name: each for each in client.call(sets.list_sets).sets}
    steps, wrong = [], []
    for each in declared:
        try:
            steps.append(_step(client, each, known.get(each.name)))
        except ApiError as error:
            if error.status not in UNPROCESSABLE:
                raise
            words = error.error if error.error.endswith(".") else f"{error.error}."
            wrong.append(f"{each.document.place_of(words)}: {words} {error.details}".rstrip())
    names = {each.name for each in declared}
    gone = [each for each in known.values() if each.source in pruned and each.name not in names]
    wrong += filter(None, (_unremovable(client, each) for each in gone))
    refuse(wrong)
    steps += [Step(name=each.name, what=REMOVED, found=each) for each in gone]
    return steps


def _unremovable(client: Client, found: SetView) -> str | None:
    """Return why a set may not be removed, or None; raises `ApiError`.

    Who may declare it as it is may remove it.
    """
    try:
        foreseen(client, found.name, body_of(found))
    except ApiError as error:
        if error.status == FORBIDDEN:
            return (
                f"the set {found.name}, which no file has, can't be removed: "
                f"{error.error} {error.details}".rstrip()
            )
        if error.status not in UNPROCESSABLE:
            raise
        # It could not be declared today, which nobody wants.
    return None


def _step(client: Client, declared: Declared, found: SetView | None) -> Step:
    """Return what is to be done about a set; raises `ApiError` where the controller refuses it."""
    theirs = "" if found is None else found.source or ""
    if theirs and theirs != declared.body.get("source", ""):
        raise ApiError(
            f"The set {declared.name} is of the source {theirs!r}, which `source` here is not.",
            f"If these files are what it is from, say so: --source {shlex.quote(theirs)}. If not, "
            "give it another name",
            status=409,
        )
    would = foreseen(client, declared.name, declared.body)
    before = None if found is None else said(body_of(found))
    return Step(
        name=declared.name,
        what=would.result,
        lines=[] if would.result == UNCHANGED else differences(before, said(declared.body)),
        nodes=lacking(would),
        declared=declared,
        found=found,
    )


def _show(steps: Sequence[Step], form: Form, *, dry_run: bool) -> None:
    """Show what differs, before it is done."""
    for each in steps:
        if each.what == UNCHANGED:
            continue
        what = WOULD[each.what] if dry_run else each.what
        say(": ".join(filter(None, [f"{each.name} {what}", each.nodes])))
        say(*(f"  {line}" for line in each.lines)) if each.lines else None


def _carry_out(client: Client, steps: Sequence[Step], form: Form) -> None:
    """Do what is to be done; raises `ApiError`, which says what was done before it."""
    done = 0
    words = "what was changed is known by the same command again"
    for step in steps:
        if step.what == UNCHANGED:
            continue
        try:
            with last_words.instead(f"interrupted after {done} of {_changes(steps)}: {words}"):
                _do(client, step, form)
        except Unreachable:
            raise
        except ApiError as error:
            if done:
                error.details = (
                    f"{done} of {_changes(steps)} sets were changed before. {error.details}"
                )
            raise
        done += 1


def _do(client: Client, step: Step, form: Form) -> None:
    from towline.endpoints import sets

    if step.declared is None:
        _remove(client, step.found)
        return
    for left in reversed(range(TIMES)):
        condition = unchanged_since(step.found)
        try:
            client.call(sets.put, name=step.name, **step.declared.body, **condition)
        except ApiError as error:
            if error.status != CHANGED_MEANWHILE or not left:
                raise
        else:
            return
        # What was shown is another difference by now: that is shown before it is done.
        step.found = found_of(client, step.name)
        before = None if step.found is None else said(body_of(step.found))
        step.lines = differences(before, said(step.declared.body))
        if form.for_people:
            say(f"{step.name} was changed meanwhile, and differs now so:")
            say(*(f"  {line}" for line in step.lines or ["not at all"]))


def _remove(client: Client, found: SetView) -> None:
    """Remove a set that nobody has changed since it was shown.

    Raises:
        ApiError: somebody has, or it is refused.
    """
    from towline.endpoints import sets

    try:
        client.call(sets.remove, name=found.name, if_match=found.etag)
    except ApiError as error:
        if error.status == NOT_FOUND:
            return  # Somebody else was faster.
        if error.status != CHANGED_MEANWHILE:
            raise
        raise ApiError(
            f"The set {found.name} was changed meanwhile, and is not removed.",
            f"towline set show {found.name} shows it; the same command again looks anew",
            status=error.status,
        ) from error


def _changes(steps: Sequence[Step]) -> int:
    return sum(each.what != UNCHANGED for each in steps)


def _end(steps: Sequence[Step], form: Form, *, dry_run: bool) -> NoReturn:
    counts = Counter(each.what for each in steps)
    if form.document:
        print_document([*_documents(steps)], form)
    elif form.output == "name":
        print_names(each.name for each in steps if each.what != UNCHANGED)
    else:
        order = (CREATED, CHANGED, REMOVED, UNCHANGED)
        words = ", ".join(f"{counts[what]} {what}" for what in order if counts[what])
        say(f"dry run: {words}" if dry_run else words)
    sys.exit(DIFFERENT if _changes(steps) else SAME)


def _documents(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    for each in steps:
        yield {"name": each.name, "result": each.what, "differences": each.lines}


COMMANDS = (apply,)
