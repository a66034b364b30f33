"""The commands about images of the whole fleet: what is where, and where it differs.

Those that do something to the images of nodes are made of the operations `image.…`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import msgspec

from towline.cli import image_view, watching
from towline.cli.command import Choice, Group
from towline.cli.connection import Where, connect, take_where, with_connection
from towline.cli.form import Form
from towline.cli.options import take_form, with_results_output
from towline.cli.output import print_document, print_list, print_names
from towline.cli.target import FORMS, ON
from towline.cli.terminal import say
from towline.cli.watching import watch_option
from towline.errors import ApiError, InvalidConfiguration, did_you_mean
from towline.wire.reference import InvalidReference, Reference

if TYPE_CHECKING:
    from towline.client import Client
    from towline.endpoints.images import ImageNodes, ImagePage, ImageView
    from towline.endpoints.set_views import SetView

DIGEST = re.compile("(sha256:)?[0-9a-f]{12,64}")
"""What is meant as a digest or an image id, whole or short; no repository is called so."""
PAGE = 1000
"""Images, or nodes, that are asked for at a time."""
STATES = ("has", "other", "none", "unknown")
UNSEEN = (403, 404)
"""Statuses that say that the sets are not to be seen: by this token, or at this controller."""
DIFFERS = 1
"""The exit status of `drift` where there is any, as that of `diff`."""

Page = TypeVar("Page")


@click.group(cls=Group)
def image() -> None:
    """List, find, compare and remove images of all nodes."""


@with_connection
@with_results_output
@image.command("list")
@click.argument("reference", metavar="[IMAGE]", required=False)
@click.option("--digest", metavar="DIGEST", help="Only the image that registries know by this.")
@click.option("--node", metavar="NODE", help="Only images that this node has.")
@click.option("--unused", is_flag=True, help="Only those of which no node has a container.")
@click.option(
    "--drift", is_flag=True, help="Only those under whose name nodes have several digests."
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="NUMBER", help="At most so many.  [default: all]"
)
@click.option("--live", is_flag=True, help="Ask the engines of the nodes of --on, now.")
@click.option("--on", help=f"With --live: which nodes. {FORMS}", **ON)
@watch_option
def list_(live: bool, on: str | None, watch: bool, **values: Any) -> None:
    """List the images that there are on nodes, each once, with how many nodes have it.

    It is the inventory that controllers keep, in which a change on a node is seen after a few
    seconds; nothing is asked of nodes but with --live. IMAGE is a name or a repository.

    \b
    Example:
        towline image list nginx
        towline image list --unused --node web-01
        towline image list --live --on web-01
    """
    where, form = take_where(values), take_form(values)
    if live or on is not None:
        _check_live(live, on, watch, values)
        _list_live(where, form, values, str(on))
    limit = values.pop("limit")
    asked = {name: value for name, value in values.items() if value}
    with connect(where) as client:
        if watch:
            shown = image_view.LISTING
            watching.watch(lambda: inventory(client, limit, **asked).images, shown, form)
        found = inventory(client, limit, **asked)
        meant = _meant(client, asked) if form.for_people and not found.images else ""
    print_images(found, form)
    if not form.for_people:
        return
    if not found.images:
        none = "no image is one of these" if asked else "no node is known to have an image"
        say(f"{none}. {meant}" if meant else none, error=True)
    if found.total > len(found.images):
        say(f"{found.total} in all: --limit shows more", error=True)
    if found.unknown:
        say(f"of {found.unknown} nodes it is unknown what they have", error=True)


def print_images(found: ImagePage, form: Form) -> None:
    """Print images in the form that is asked for."""
    shown = image_view.LISTING
    rows, names = map(shown.row, found.images), map(shown.name, found.images)
    print_list(form, found, shown.columns, rows, names)


def _check_live(live: bool, on: str | None, watch: bool, values: dict[str, Any]) -> None:
    """Refuse what the engines of nodes can't be asked; raises `UsageError`."""
    if not live or on is None:
        missing = "--on TARGET" if live else "--live"
        raise click.UsageError(f"--live --on TARGET asks nodes: give {missing}, too.")
    given = [name for name in ("digest", "node", "drift") if values[name]]
    given += ["watch"] * watch
    if values["reference"] is not None or given:
        raise click.UsageError(
            f"--live takes no {f'--{given[0]}' if given else 'IMAGE'}: the inventory does."
        )


def _list_live(where: Where, form: Form, values: dict[str, Any], on: str) -> NoReturn:
    # Operations are slow to import, and the inventory needs none.
    from towline.cli import run
    from towline.operations import image as operations

    asked = {name: values[name] for name in ("unused", "limit") if values[name]}
    run.run(operations.list_images, [asked], where, {}, None, on=on, wait=None, form=form)


@with_connection
@with_results_output
@image.command(epilog=image_view.WHERE_STATUS)
@click.argument("reference", metavar="IMAGE")
@click.option("--on", help=f"Of which nodes; by default, of all. {FORMS}", **ON)
@click.option(
    "--only",
    type=Choice(STATES),
    help="Only nodes of which this is so: has it, another digest under that name, none, unknown.",
)
def where(reference: str, on: str | None, only: str | None, **values: Any) -> None:
    """Show which nodes have an image, and which have another, none, or are unknown.

    Nodes are compared with the digest that IMAGE names; where it names none, with the one that a
    set wants for them, and where none does, with the one that most have.

    \b
    Example:
        towline image where nginx:1.27
        towline image where registry.example/shop:1.4 --on group:web --only none -q
    """
    connection, form = take_where(values), take_form(values)
    name = _reference(reference)
    with connect(connection) as client:
        found = nodes_of(client, str(name), on, only)
        missing = not any(found.counts.get(each) for each in ("has", "other"))
        meant = _meant(client, {"reference": reference}) if missing and form.for_people else ""
    if form.document:
        print_document(found, form)
    elif form.output == "name":
        print_names(image_view.nodes_named(found, only or "has"))
    else:
        say(*image_view.where_lines(name.familiar, found, form, each=only is not None))
        if meant:
            say(f"no node is known to have it. {meant}", error=True)
    sys.exit(image_view.status_of(found.counts))


@with_connection
@with_results_output
@image.command()
@click.argument("reference", metavar="IMAGE")
def show(reference: str, **values: Any) -> None:
    """Show one image, by its name, digest or id: what it is, and which nodes have it.

    \b
    Example:
        towline image show nginx:1.27
        towline image show sha256:11fa8c2b41d0
    """
    connection, form = take_where(values), take_form(values)
    with connect(connection) as client:
        found = _one(client, reference)
        shown = [image_view.Shown(each, nodes_having(client, each)) for each in found]
        sets = sets_of(client)
    shown = [msgspec.structs.replace(each, wanted_by=each.wanting(sets)) for each in shown]
    if form.document:
        print_document([each.document() for each in shown], form)
    elif form.output == "name":
        print_names(map(image_view.key_of, found))
    else:
        for number, each in enumerate(shown):
            if number:
                say("")
            say(*image_view.image_lines(each, form))


@with_connection
@with_results_output
@image.command()
def drift(**values: Any) -> None:
    """Show names under which nodes have different images, and sets that are not met.

    It ends with 1 where there are any.

    \b
    Example:
        towline image drift
    """
    connection, form = take_where(values), take_form(values)
    with connect(connection) as client:
        found = image_view.names_that_differ(inventory(client, drift=True).images)
        drifts = [
            image_view.Drift(name, rows, nodes_of(client, name, None, "other"))
            for name, rows in found.items()
        ]
        unmet = [each for each in sets_of(client) if image_view.unmet(each)]
    if form.document:
        print_document({"names": [each.document() for each in drifts], "sets": unmet}, form)
    elif form.output == "name":
        print_names(each.name for each in drifts)
    else:
        if drifts:
            say(*image_view.drift_lines(drifts, form))
        else:
            say("no name means different images on different nodes")
        if unmet:
            say("", *image_view.unmet_lines(unmet, form))
    sys.exit(DIFFERS if drifts or unmet else 0)


def inventory(client: Client, limit: int | None = None, **asked: Any) -> ImagePage:
    """Return the images of the inventory, by name: all pages as one.

    Args:
        limit: so many at most; None for all.
        asked: parameters of the endpoint.
    """
    from towline.endpoints import images as endpoints

    pages = [*_pages(lambda **more: client.call(endpoints.list_images, **asked, **more), limit)]
    found = [image for page in pages for image in page.images]
    return msgspec.structs.replace(pages[0], images=found[:limit], next_cursor=None)


def nodes_of(client: Client, reference: str, on: str | None, state: str | None) -> ImageNodes:
    """Return which nodes have an image, and which not: all pages as one.

    Args:
        on: the target; None for all nodes.
        state: only nodes of which this is so.
    """
    from towline.endpoints import images as endpoints

    asked: dict[str, Any] = {"reference": reference, "target": on, "state": state}
    given = {name: value for name, value in asked.items() if value is not None}
    pages = [*_pages(lambda **more: client.call(endpoints.image_nodes, **given, **more), None)]
    nodes = [node for page in pages for node in page.nodes]
    return msgspec.structs.replace(pages[0], nodes=nodes, next_cursor=None)


def nodes_having(client: Client, image: ImageView) -> ImageNodes | None:
    """Return which nodes have an image; None where it has no name to ask by."""
    names = [Reference.parse(name) for name in image.names]
    if not names or image.digest is None:
        return None
    return nodes_of(client, f"{names[0].repository}@{image.digest}", None, "has")


def sets_of(client: Client) -> list[SetView]:
    """Return the sets; none where the token may see none, or the controller knows of none."""
    from towline.endpoints import sets

    try:
        return client.call(sets.list_sets).sets
    except ApiError as error:
        if error.status in UNSEEN:
            return []
        raise


def _pages(ask: Callable[..., Page], limit: int | None) -> Iterator[Page]:
    """Yield pages until there are as many things as are wanted, or no more."""
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        more = {"limit": PAGE if left is None else min(PAGE, left)}
        page: Any = ask(**more, **({} if cursor is None else {"cursor": cursor}))
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return
        left = None if left is None else left - PAGE


def _reference(text: str) -> Reference:
    try:
        return Reference.parse(text)
    except InvalidReference as error:
        raise click.UsageError(f"{error}.") from error


def _one(client: Client, text: str) -> list[ImageView]:
    """Return the image that a text names: several where the name stands for several.

    Raises:
        InvalidConfiguration: no node is known to have one.
    """
    if DIGEST.fullmatch(text):
        every = inventory(client)
        begin = text if text.startswith("sha256:") else f"sha256:{text}"
        found = [each for each in every.images if image_view.is_called(each, begin)]
        if found:
            return found
        raise InvalidConfiguration(f"No node is known to have the image {text}.")
    name = _reference(text)
    found = inventory(client, reference=str(name)).images
    if found:
        return found
    raise InvalidConfiguration(
        f"No node is known to have {name.familiar}.", _meant(client, {"reference": text})
    )


def _meant(client: Client, asked: dict[str, Any]) -> str:
    """Return the question whether another name was meant, of those that some node has."""
    text = asked.get("reference")
    if text is None:
        return ""
    every = inventory(client).images
    known = {Reference.parse(name).familiar for each in every for name in each.names}
    return did_you_mean(text, known)


COMMANDS = (image,)
