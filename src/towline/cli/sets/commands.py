"""The commands about sets: what ought to be on which nodes, and how far that is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from towline.cli import outcome, watching
from towline.cli.cells import digest, in_form, twins
from towline.cli.command import Choice, Group
from towline.cli.connection import connect, connection_parameters, take_where, with_connection
from towline.cli.form import Form
from towline.cli.options import take_form, with_output
from towline.cli.output import print_document, print_list, print_names
from towline.cli.sets.changes import NOT_FOUND
from towline.cli.sets.view import (
    HISTORY,
    IMAGES,
    LISTING,
    STATES,
    change_cells,
    nodes_of,
    set_lines,
    standings,
    title,
)
from towline.cli.terminal import say
from towline.cli.watching import watch_option
from towline.errors import ApiError

if TYPE_CHECKING:
    from towline.client import Client
    from towline.endpoints.set_views import SetNode, SetView, StateOf

PAGE = 1000
"""Nodes that are asked for at a time."""


@click.group("set", cls=Group)
def set_() -> None:
    """Look after sets: images that nodes ought to have, and are kept to.

    towline ensure IMAGE --on TARGET makes one, towline apply -f FILE those of a file.
    """


@with_connection
@with_output
@set_.command("list")
@watch_option
def list_(watch: bool, **values: Any) -> None:
    """List the sets."""
    form = take_form(values)
    with connect(take_where(values)) as client:
        if watch:
            watching.watch(lambda: all_sets(client), LISTING, form)
        found = all_sets(client)
    print_list(form, found, LISTING.columns, map(LISTING.row, found), map(LISTING.name, found))
    if form.for_people and not found:
        say("no set is declared: towline ensure IMAGE --on TARGET declares one", error=True)


def all_sets(client: Client) -> list[SetView]:
    """Return all sets, by name; raises `ApiError`."""
    from towline.endpoints import sets

    return client.call(sets.list_sets).sets


@with_connection
@with_output
@set_.command()
@click.argument("name", metavar="SET")
@watch_option
def show(name: str, watch: bool, **values: Any) -> None:
    """Show one set: what was declared, and how far each image is.

    With -w it goes on and shows how far each image is, and what the set's status is.

    \b
    Example:
        towline set show group-web
    """
    from towline.endpoints import sets

    form = take_form(values)
    with connect(take_where(values)) as client:
        if watch:
            watching.watch(lambda: standings(client.call(sets.get, name=name)), IMAGES, form)
        found = client.call(sets.get, name=name)
    print_set(found, form)


def print_set(found: SetView, form: Form) -> None:
    """Print a set in the form that is asked for."""
    if form.document:
        print_document(found, form)
    elif form.output == "name":
        print_names([found.name])
    else:
        say(*set_lines(found, form))


@with_output
@set_.command()
@click.argument("name", metavar="SET")
@click.option("--state", type=Choice(STATES), help="Only nodes that stand so.")
@watch_option
def nodes(name: str, state: StateOf | None, watch: bool, **values: Any) -> None:
    """Show where each node stands against a set, and why.

    \b
    Example:
        towline set nodes group-web --state failed
    """
    form = take_form(values)
    with connect(take_where(values)) as client:
        found = all_nodes(client, name, state)
        shown = nodes_of(twins((each.hostname, each.machine_id) for each in found))
        if watch:
            watching.watch(lambda: all_nodes(client, name, state), shown, form)
    names = dict.fromkeys(map(shown.name, found))
    print_list(form, found, shown.columns, map(shown.row, found), names)
    if form.for_people and not found:
        of = "its target" if state is None else state
        say(f"no node is {of} now", error=True)


# The state directory has another name here.
nodes.params += connection_parameters({"--state"})


def all_nodes(
    client: Client, name: str, state: StateOf | None = None, image: str | None = None
) -> list[SetNode]:
    """Return the nodes of a set, for each of its images; raises `ApiError`.

    Args:
        state: how they stand; None for all.
        image: the one image that they are asked about; None for all.
    """
    from towline.endpoints import sets

    found: list[SetNode] = []
    cursor = None
    while True:
        page = client.call(
            sets.nodes, name=name, state=state, image=image, limit=PAGE, cursor=cursor
        )
        found += page.nodes
        cursor = page.next_cursor
        if cursor is None:
            return found


@with_connection
@with_output
@set_.command()
@click.argument("name", metavar="SET")
def history(name: str, **values: Any) -> None:
    """Show what was changed about a set, by whom, and what came of it; the newest first."""
    from towline.endpoints import sets

    form = take_form(values)
    with connect(take_where(values)) as client:
        found = client.call(sets.history, name=name)
    jobs = filter(None, (each.job for each in found.changes))
    print_list(form, found, HISTORY, map(change_cells, found.changes), jobs)


@with_connection
@with_output
@set_.command()
@click.argument("name", metavar="SET")
@click.option("--image", metavar="IMAGE", help="Only this one of its images; else all of them.")
def rollback(name: str, image: str | None, **values: Any) -> None:
    """Have nodes go back to the digest before.

    The one that is rolled back from is not taken again until its tag names another.

    \b
    Example:
        towline set rollback group-web --image nginx:1.27
    """
    from towline.endpoints import sets

    form = take_form(values)
    with connect(take_where(values)) as client:
        before = client.call(sets.get, name=name)
        found = client.call(sets.rollback, name=name, image=image)
    _print_steered(found, form, lambda found: _rolled_back(before, found))


def _rolled_back(before: SetView, found: SetView) -> str:
    were = {(each.image, each.platform): each.digest for each in before.images}
    back = [
        f"{title(each)} to {in_form(digest(each.digest or ''), Form())}"
        for each in found.images
        if each.digest != were.get((each.image, each.platform))
    ]
    words = ", ".join(back) or "no image"
    return f"{found.name} goes back: {words}; towline set show {found.name} shows how far it is."


@with_connection
@with_output
@set_.command()
@click.argument("name", metavar="SET")
def pause(name: str, **values: Any) -> None:
    """Do nothing more for a set until it is resumed; jobs that are under way go on."""
    from towline.endpoints import sets

    form = take_form(values)
    with connect(take_where(values)) as client:
        found = client.call(sets.pause, name=name)
    _print_steered(
        found,
        form,
        lambda found: f"{found.name} is paused: towline set resume {found.name} lets it go on.",
    )


@with_connection
@with_output
@set_.command()
@click.argument("name", metavar="SET")
def resume(name: str, **values: Any) -> None:
    """Keep a set true again that was paused, and go on where a rollout was stopped."""
    from towline.endpoints import sets

    form = take_form(values)
    with connect(take_where(values)) as client:
        found = client.call(sets.resume, name=name)
    _print_steered(
        found,
        form,
        lambda found: f"{found.name} goes on: towline set show {found.name} shows how far it is.",
    )


def _print_steered(found: SetView, form: Form, words: Callable[[SetView], str]) -> None:
    if form.for_people:
        say(words(found))
    else:
        print_set(found, form)


@with_connection
@with_output
@set_.command()
@click.argument("names", metavar="SET...", nargs=-1, required=True)
def remove(names: tuple[str, ...], **values: Any) -> None:
    """Forget sets: nodes keep the images, and are kept to nothing any more."""
    from towline.endpoints import sets

    form = take_form(values)
    removed: list[str] = []
    absent: list[ApiError] = []
    with connect(take_where(values)) as client:
        for name in dict.fromkeys(names):
            try:
                client.call(sets.remove, name=name)
            except ApiError as error:
                if error.status != NOT_FOUND:
                    raise
                # The others are to go all the same, whichever is named first.
                absent.append(error)
                continue
            removed.append(name)
            if form.for_people:
                say(f"{name} is removed; its images stay where they are.")
            elif form.output == "name":
                print_names([name])
    if form.document:
        print_document([{"name": name} for name in removed], form)
    for each in absent:
        outcome.report(each)
    if absent:
        sys.exit(outcome.REFUSED)


COMMANDS = (set_,)
